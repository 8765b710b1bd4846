// Embeddings on their way in: float32 rows, with the positions that are added to them.
#ifndef ATTND_CORE_LINEAR_EMBEDDINGS_H_
#define ATTND_CORE_LINEAR_EMBEDDINGS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/attention/tensor.h"
#include "core/linear/multihead_plan.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// Copies all elements of `tensor` to `rows`. kResourceExhausted without memory.
absl::Status CopyEmbeddings(const TensorView& tensor, BufferPool* pool, float* rows);

// Adds the encodings of the positions of tokens [begin, end) of entry `b` to `rows`, which
// are the `width` elements of all tokens of query (0), or of key or value. If the encoding is
// LEARNED, `table` has it for positions [0, positions); nothing is added at others.
void AddPositions(const MultiHeadPlan& plan, int which, const float* table, int64_t positions, int64_t b, int64_t begin,
                  int64_t end, float* rows);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_EMBEDDINGS_H_
