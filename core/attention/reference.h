// The oracle: attention in plain loops, slow and obvious. It reads the request as the
// contract does, rule by rule, and shares no code with plans, ranges or engines.
#ifndef ATTND_CORE_ATTENTION_REFERENCE_H_
#define ATTND_CORE_ATTENTION_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "core/attention/request.h"

namespace attnd {

// Results of a reference run, heads first in every layout: entry after entry, each
// [heads, q_len, ...]; in a packed request with the lengths of each sequence.
template <typename Real>
struct ReferenceResult {
  std::vector<Real> output;
  std::vector<Real> lse;
  // Of every head and row, whatever the request lists.
  std::vector<Real> weights;
  // At the stage asked for; BIASED if none.
  std::vector<Real> scores;
  // Per row, whether it sees a key.
  std::vector<bool> sees_a_key;
  int64_t visible_pairs = 0;
  // Over visible pairs, as far as finite: the largest sum_d |scale q k| + |biases| +
  // |ALiBi|, and the largest |value|.
  double magnitude = 0;
  double max_value = 0;
};

// In `Real` (float or double), by three loops per head. Only visible keys and values are
// read for output, lse and weights. A row without a score above -inf gives output 0 and
// LSE -inf, or the sink if there is one. REQUIRES: PlanAttention accepts `request`.
template <typename Real>
ReferenceResult<Real> ReferenceAttention(const AttentionRequest& request);

// What stands in the place of a request's query, key and value, in their shapes and layout,
// where they were computed; and keys that every row sees beside those of the sequence,
// without biases or rotation, and that scores and weights do not show.
struct ReferenceInputs {
  std::vector<double> query;
  std::vector<double> key;
  std::vector<double> value;
  // [kv_heads, head_dim] and [kv_heads, value_dim], or empty.
  std::vector<double> extra_key;
  std::vector<double> extra_value;
  // A key and a value of zeros.
  bool zero_key = false;
};

// The same for tensors that the request has only the shapes of.
template <typename Real>
ReferenceResult<Real> ReferenceAttention(const AttentionRequest& request, const ReferenceInputs& inputs);

extern template ReferenceResult<float> ReferenceAttention<float>(const AttentionRequest&, const ReferenceInputs&);
extern template ReferenceResult<double> ReferenceAttention<double>(const AttentionRequest&, const ReferenceInputs&);
extern template ReferenceResult<float> ReferenceAttention<float>(const AttentionRequest&);
extern template ReferenceResult<double> ReferenceAttention<double>(const AttentionRequest&);

// The elements of a tensor for numbers.
std::vector<double> ReferenceNumbers(const TensorView& tensor);

// `x` as an element of that type, rounded to nearest even.
double RoundTo(DataType dtype, double x);

// The numerical contract: the largest error against the float64 reference that a result
// may have,
//   2 * max|round(float32 three-loop) - exact| + 2^-24 (1 + magnitude) max|V|,
// round being that to the output's type.
double OutputTolerance(const AttentionRequest& request, const ReferenceResult<double>& exact);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_REFERENCE_H_
