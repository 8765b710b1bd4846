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

enum class Layout { kHeadsFirst, kTokensFirst, kPacked };

enum class Alignment { kUnset, kTopLeft, kBottomRight, kOffset };

struct Window {
  std::optional<int64_t> left;
  std::optional<int64_t> right;
};

enum class Polarity { kUnset, kKeep, kDrop };

struct Mask {
  TensorView tensor;
  Polarity polarity = Polarity::kUnset;
};

struct Documents {
  std::vector<int32_t> query_ids;
  std::vector<int32_t> key_ids;
};

enum class RopeStyle { kUnset, kHalf, kInterleaved };

struct Rope {
  RopeStyle style = RopeStyle::kUnset;
  std::optional<int64_t> rotary_dim;
  std::optional<float> theta;
  std::optional<float> scaling_factor;
  std::vector<int64_t> query_positions;
  std::vector<int64_t> key_positions;
};

struct AttentionOptions {
  std::optional<float> scale;
  bool causal = false;
  Alignment alignment = Alignment::kUnset;
  std::vector<int64_t> q_offset;
  std::vector<int64_t> k_offset;
  std::optional<Window> window;
  std::vector<int64_t> q_lengths;
  std::vector<int64_t> kv_lengths;
  std::vector<int64_t> kv_starts;
  std::vector<Mask> masks;
  std::vector<TensorView> biases;
  std::optional<TensorView> alibi_slopes;
  std::optional<float> softcap;
  std::optional<TensorView> sinks;
  std::optional<Documents> documents;
  std::vector<int64_t> prefix_lengths;
  std::optional<Rope> rope;
};

struct WeightsOutput {
  // The mean over heads instead of each.
  bool mean = false;
  // Query rows to report; all if empty.
  std::vector<int64_t> rows;
};

enum class ScoreStage { kUnset, kUnscaled, kScaled, kCapped, kBiased };

struct TopKOutput {
  int64_t k = 0;
  // Query rows to report; all if empty.
  std::vector<int64_t> rows;
};

struct DiagnosticsOutput {
  bool rows = false;
  std::optional<int64_t> first_keys = std::nullopt;
  std::optional<int64_t> window = std::nullopt;
  std::optional<int64_t> columns = std::nullopt;
};

struct HeatmapOutput {
  std::optional<int64_t> cells = std::nullopt;
};

struct AttentionOutputs {
  // Of output, weights and scores; the query's if unset.
  std::optional<DataType> dtype = std::nullopt;
  bool lse = false;
  std::optional<WeightsOutput> weights = std::nullopt;
  std::optional<ScoreStage> scores = std::nullopt;
  std::optional<TopKOutput> top_k = std::nullopt;
  std::optional<DiagnosticsOutput> diagnostics = std::nullopt;
  std::optional<HeatmapOutput> heatmap = std::nullopt;
  // Of Attend; MultiHeadRequest has its own.
  bool explain = false;
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
