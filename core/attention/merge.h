// Combines attention over disjoint sets of keys into attention over their union: with
// LSE_p the log of the sum of part p's exponentials, m = max_p LSE_p and s = sum_p
// exp(LSE_p - m),
//   output = sum_p exp(LSE_p - m) output_p / s,   LSE = m + log s
// (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., "FlashAttention", arXiv 2205.14135).
#ifndef ATTND_CORE_ATTENTION_MERGE_H_
#define ATTND_CORE_ATTENTION_MERGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/attention/result_tensor.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

// A result over a part of the keys. Not owned.
struct PartialResult {
  // [batch, heads, q_len, value_dim] in the layout's rank and order; FLOAT32, FLOAT16 or
  // BFLOAT16, all parts alike.
  TensorView output;
  // Of the output's rows, FLOAT32, natural log; -inf for a row without a key in this part.
  TensorView lse;
};

// What to combine. Fields are those of attnd.v1.MergeRequest.
struct MergeInputs {
  std::vector<PartialResult> parts;
  Layout layout = Layout::kHeadsFirst;
  // [heads] logits that take part in the denominator once.
  std::optional<TensorView> sinks;
  // Keeps the tensors' bytes alive. Dropped as soon as they have been copied.
  std::shared_ptr<const void> owner;
};

// A checked MergeInputs: sizes in elements.
struct MergePlan {
  int64_t batch = 0;
  int64_t heads = 0;
  // In a packed request that of all sequences, and batch is 1.
  int64_t q_len = 0;
  int64_t value_dim = 0;
  // Of the outputs.
  Strides output;
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> output_shape;
  std::vector<int64_t> lse_shape;
  int64_t parts = 0;
  // Of all parts, and of the result.
  int64_t input_bytes = 0;
  int64_t output_bytes = 0;
  // Rows (batch, head, query): elements of lse.
  int64_t rows = 0;
};

// As PlanAttention: names the field that is wrong.
absl::StatusOr<MergePlan> PlanMerge(const MergeInputs& inputs, const AttentionLimits& limits);

struct MergeResult {
  // As the parts'.
  ResultTensor output;
  ResultTensor lse;
};

// Called once, on any thread, with no lock held; may take the result.
using MergeCallback = std::function<void(absl::StatusOr<MergeResult>&&, const JobTimings&)>;

// `plan` must be PlanMerge's answer to `inputs`; otherwise as NewAttentionJob. A row whose
// LSE is -inf in every part (and without a sink) gives output 0 and LSE -inf; the output of
// a part where it is -inf is not read. Sums in the parts' order, so bits depend on that
// order and on nothing else; one part alone keeps its bits.
std::shared_ptr<Job> NewMergeJob(MergeInputs inputs, MergePlan plan, BufferPool* pool, MergeCallback done);

// What the executor needs to know of it, but for priority and deadline.
JobSpec MergeJobSpec(const MergePlan& plan);

// All of it at once on the calling thread. Thread-safe.
absl::StatusOr<MergeResult> Merge(MergeInputs inputs, BufferPool* pool);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_MERGE_H_
