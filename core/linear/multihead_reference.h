// The oracle of multi-head attention: the whole chain in plain loops, slow and obvious. It
// reads the request as the contract does and shares no code with plans, packed matrices or
// stages.
#ifndef ATTND_CORE_LINEAR_MULTIHEAD_REFERENCE_H_
#define ATTND_CORE_LINEAR_MULTIHEAD_REFERENCE_H_

#include <vector>

#include "core/attention/reference.h"
#include "core/linear/multihead_request.h"
#include "core/linear/projection_weights.h"

namespace attnd {

template <typename Real>
struct MultiHeadReference {
  // [rows of the query, output width]; 0 where q_lengths leave rows out.
  std::vector<Real> output;
  // As projected, before norms and RoPE: [rows, heads * dim].
  std::vector<Real> query;
  std::vector<Real> key;
  std::vector<Real> value;
  // [rows of the query, heads * value_dim].
  std::vector<Real> context;
  // After the output projection, if there is one.
  std::vector<Real> attention;
  // In a block, h of the contract.
  std::vector<Real> hidden;
  // lse, weights and scores of the attention.
  ReferenceResult<Real> heads;
  // The largest sum_k |x_k W_kc| + |b_c| of the last product.
  double magnitude = 0;
};

// In `Real` (float or double). REQUIRES: PlanMultiHead accepts the request for the weights.
template <typename Real>
MultiHeadReference<Real> ReferenceMultiHead(const MultiHeadRequest& request, const ProjectionWeights& weights);

extern template MultiHeadReference<float> ReferenceMultiHead<float>(const MultiHeadRequest&, const ProjectionWeights&);
extern template MultiHeadReference<double> ReferenceMultiHead<double>(const MultiHeadRequest&,
                                                                      const ProjectionWeights&);

// The largest error against `exact` that an output may have: twice that of the plain float32
// chain, rounded to the output's type, and one rounding of what the last product adds up.
double OutputTolerance(const MultiHeadRequest& request, const ProjectionWeights& weights,
                       const MultiHeadReference<double>& exact);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_MULTIHEAD_REFERENCE_H_
