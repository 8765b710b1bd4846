// A checked request for multi-head attention: every size known, every default filled in.
#ifndef ATTND_CORE_LINEAR_MULTIHEAD_PLAN_H_
#define ATTND_CORE_LINEAR_MULTIHEAD_PLAN_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/linear/multihead_request.h"
#include "core/linear/packed_matrix.h"
#include "core/linear/projection_weights.h"

namespace attnd {

// One product of embeddings with weights.
struct ProjectionPlan {
  // The matrix, of which these columns are used.
  WeightRole weight = WeightRole::kQuery;
  Columns columns;
  // The bias that the columns' belong to, and where theirs begins; -1: none.
  WeightRole bias = WeightRole::kQueryBias;
  int64_t bias_begin = -1;
};

// Embeddings as they are read.
struct EmbeddingPlan {
  DataType dtype = DataType::kFloat32;
  int64_t width = 0;
  // In all entries together.
  int64_t rows = 0;
  // The request's tensor that is read: query (0), key (1) or value (2).
  int tensor = 0;
  // Those of this index serve here, too: the same tensor at the same positions.
  int same_as = 0;
};

struct BlockPlan {
  NormPlacement placement = NormPlacement::kPost;
  NormKind norm = NormKind::kLayerNorm;
  Activation activation = Activation::kUnset;
  float norm_epsilon = 1e-5F;
  bool has_ffn = false;
  int64_t ffn_dim = 0;
};

struct MultiHeadPlan {
  // Of the projected query, key and value, in float32, with a float32 output in TOKENS_FIRST
  // [batch, q_len, heads * value_dim] or PACKED [total_q, heads, value_dim].
  AttentionPlan attention;
  // Query, key, value.
  EmbeddingPlan embeddings[3];
  ProjectionPlan projections[3];
  bool has_output_projection = false;
  // heads * value_dim.
  int64_t context_width = 0;
  int64_t output_width = 0;
  PositionEncoding position_encoding = PositionEncoding::kNone;
  bool add_zero_attn = false;
  bool has_extra_key = false;
  bool has_query_norm = false;
  bool has_key_norm = false;
  // Of query_norm and key_norm.
  float norm_epsilon = 1e-6F;
  std::optional<BlockPlan> block;
  bool explain = false;

  DataType output_dtype = DataType::kFloat32;
  std::vector<int64_t> output_shape;

  // Predicted floating-point operations beside the attention's.
  double linear_flops = 0;
  // Memory that a job takes beside what the attention's plan counts.
  int64_t bytes = 0;
};

// Checks `request` against the contract, `limits` and the weights' shapes. Reads shapes and
// lists only; all arithmetic is overflow-safe. On failure the status names the field
// (InvalidField).
absl::StatusOr<MultiHeadPlan> PlanMultiHead(const MultiHeadRequest& request, const WeightShapes& weights,
                                            const AttentionLimits& limits);

// The request as one for attention on the projected tensors, which have no bytes yet.
// `plan` is PlanMultiHead's answer.
AttentionRequest ProjectedRequest(const MultiHeadRequest& request, const MultiHeadPlan& plan);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_MULTIHEAD_PLAN_H_
