// A checked request: every size known, every default filled in, nothing allocated yet.
#ifndef ATTND_CORE_ATTENTION_PLAN_H_
#define ATTND_CORE_ATTENTION_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/request.h"
#include "core/attention/visibility.h"

namespace attnd {

// Extents in elements. heads is a multiple of kv_heads: query head h uses key head
// h / (heads / kv_heads). batch, q_len and kv_len may be 0, the others are >= 1.
struct Dims {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t q_len = 0;
  int64_t kv_len = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;

  // Query heads per key head.
  [[nodiscard]] int64_t group() const { return heads / kv_heads; }
};

// Distance in elements between neighbours along each dimension; a row's elements are
// contiguous.
struct Strides {
  int64_t batch = 0;
  int64_t head = 0;
  int64_t token = 0;
};

struct AttentionLimits {
  // Largest head_dim and value_dim, in elements. Raising it raises scratch per worker.
  int64_t max_head_dim = 4096;
  // Largest sum of output tensors, in bytes.
  int64_t max_output_bytes = int64_t{2040} << 20;
};

struct AttentionPlan {
  Dims dims;
  // All 0 if rows() is 0.
  Strides query;
  Strides key;
  Strides value;
  Strides output;
  // Factor on QK^T.
  float scale = 1;
  Visibility visibility;
  AttentionOutputs outputs;
  // Shape of `output` in the query's rank and layout.
  std::vector<int64_t> output_shape;
  // Floating-point operations on visible pairs: 2 * pairs * (head_dim + value_dim).
  double flops = 0;
  // Sizes in bytes. Gathered inputs; output, lse and weights together.
  int64_t input_bytes = 0;
  int64_t output_bytes = 0;

  // batch * heads * q_len: elements of lse; output has value_dim and weights kv_len for each.
  [[nodiscard]] int64_t rows() const {
    return dims.batch == 0 || dims.q_len == 0 ? 0 : dims.batch * dims.heads * dims.q_len;
  }
};

// Checks `request` against the contract and `limits`. Reads shapes and lengths only,
// never the tensors' bytes, and allocates nothing that grows with them. All arithmetic
// is overflow-safe. On failure the status names the field (InvalidField, UnservedField).
absl::StatusOr<AttentionPlan> PlanAttention(const AttentionRequest& request, const AttentionLimits& limits);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_PLAN_H_
