// One attention request as asked, not yet checked. What each field means, its shape and
// its default are written once, in proto/attnd/v1/{attention,options}.proto.
#ifndef ATTND_CORE_ATTENTION_REQUEST_H_
#define ATTND_CORE_ATTENTION_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/attention/tensor.h"

namespace attnd {

enum class Layout { kHeadsFirst, kTokensFirst };

enum class Alignment { kUnset, kTopLeft, kBottomRight, kOffset };

struct AttentionOptions {
  std::optional<float> scale;
  bool causal = false;
  Alignment alignment = Alignment::kUnset;
  std::vector<int64_t> q_offset;
  std::vector<int64_t> k_offset;
};

struct AttentionOutputs {
  bool lse = false;
  bool weights = false;
};

struct AttentionRequest {
  TensorView query;
  TensorView key;
  TensorView value;
  Layout layout = Layout::kHeadsFirst;
  std::optional<int64_t> heads;
  std::optional<int64_t> kv_heads;
  AttentionOptions options;
  AttentionOutputs outputs;
  // Keeps the tensors' bytes alive. Dropped as soon as they have been copied.
  std::shared_ptr<const void> owner;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_REQUEST_H_
