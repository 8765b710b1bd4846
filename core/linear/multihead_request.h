// A request for multi-head attention from embeddings, as asked, not yet checked. What each
// field means, its shape and its default are written once, in
// proto/attnd/v1/attention.proto (MultiHeadAttendRequest, TransformerBlock).
#ifndef ATTND_CORE_LINEAR_MULTIHEAD_REQUEST_H_
#define ATTND_CORE_LINEAR_MULTIHEAD_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "core/attention/request.h"
#include "core/attention/tensor.h"

namespace attnd {

enum class PositionEncoding { kNone, kSinusoidal, kLearned };

enum class NormPlacement { kUnset, kPre, kPost };
enum class NormKind { kUnset, kLayerNorm, kRmsNorm };
enum class Activation { kUnset, kGelu, kGeluTanh, kRelu, kSwiglu };

struct TransformerBlock {
  NormPlacement placement = NormPlacement::kUnset;
  NormKind norm = NormKind::kUnset;
  Activation activation = Activation::kUnset;
  std::optional<float> norm_epsilon;
};

// Beside the weights, which come by another way.
struct MultiHeadRequest {
  TensorView query;
  std::optional<TensorView> key;
  std::optional<TensorView> value;
  // TOKENS_FIRST or PACKED.
  Layout layout = Layout::kTokensFirst;
  int64_t heads = 0;
  std::optional<int64_t> kv_heads;
  std::optional<int64_t> value_dim;
  AttentionOptions options;
  AttentionOutputs outputs;
  // Asks for what lies between the stages, too.
  bool explain = false;
  PositionEncoding position_encoding = PositionEncoding::kNone;
  bool add_zero_attn = false;
  std::optional<float> norm_epsilon;
  std::optional<TransformerBlock> block;
  // Keeps the tensors' bytes alive. Dropped as soon as they have been copied.
  std::shared_ptr<const void> owner;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_MULTIHEAD_REQUEST_H_
