// The oracle: attention in plain loops, slow and obvious, independent of the engines.
#ifndef ATTND_CORE_ATTENTION_REFERENCE_H_
#define ATTND_CORE_ATTENTION_REFERENCE_H_

#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"

namespace attnd {

// Results of a reference run, row-major: output [batch, heads, q_len, value_dim] (always
// heads first), lse [batch, heads, q_len], weights [batch, heads, q_len, kv_len].
template <typename Real>
struct ReferenceResult {
  std::vector<Real> output;
  std::vector<Real> lse;
  std::vector<Real> weights;
};

// softmax(scale Q K^T) V by three loops per head in `Real` (float or double). Only
// visible keys and values are read; a row without a score above -inf gives output 0,
// LSE -inf.
// Uses data.query, data.key and data.value only.
template <typename Real>
ReferenceResult<Real> ReferenceAttention(const AttentionPlan& plan, const AttentionData& data);

extern template ReferenceResult<float> ReferenceAttention<float>(const AttentionPlan&, const AttentionData&);
extern template ReferenceResult<double> ReferenceAttention<double>(const AttentionPlan&, const AttentionData&);

// The numerical contract: the largest error against the float64 reference that a
// float32 result may have,
//   2 * max|float32 three-loop - exact| + 2^-24 (1 + max_ij sum_d |scale q k|) max|V|,
// the maxima taken over the visible, finite part of the problem.
double OutputTolerance(const AttentionPlan& plan, const AttentionData& data, const ReferenceResult<double>& exact);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_REFERENCE_H_
