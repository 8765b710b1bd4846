// Options and wanted outputs, both ways.
#include "proto/wire_options.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "proto/wire_tensors.h"
#include "proto/wire_types.h"

namespace attnd::codec {
namespace {

template <typename Enum>
absl::Status UnservedValue(std::string_view field, Enum value) {
  const auto& type = *google::protobuf::GetEnumDescriptor<Enum>();
  return UnservedField(field, absl::StrCat(Word(*type.FindValueByNumber(value)),
                                           " is part of the contract but not served by this version"));
}

template <typename T>
std::vector<T> ListOf(const google::protobuf::RepeatedField<T>& list) {
  return {list.begin(), list.end()};
}

absl::Status ReadOptionTensors(const v1::AttentionOptions& wire, const Skeleton& skeleton, AttentionOptions& options) {
  for (int i = 0; i < wire.masks_size(); ++i) {
    const v1::Mask& mask = wire.masks(i);
    const std::string name = absl::StrCat("options.masks[", i, "]");
    if (absl::Status s = CheckKnown(name + ".polarity", mask.polarity()); !s.ok()) return s;
    Mask& to = options.masks.emplace_back();
    if (absl::Status s = ReadTensor(name + ".tensor", mask.has_tensor(), mask.tensor(), skeleton, to.tensor); !s.ok()) {
      return s;
    }
    to.polarity = FromWire(mask.polarity());
  }
  for (int i = 0; i < wire.biases_size(); ++i) {
    const std::string name = absl::StrCat("options.biases[", i, "]");
    if (absl::Status s = ReadTensor(name, true, wire.biases(i), skeleton, options.biases.emplace_back()); !s.ok()) {
      return s;
    }
  }
  if (absl::Status s = ReadOptionalTensor("options.alibi_slopes", wire.has_alibi_slopes(), wire.alibi_slopes(),
                                          skeleton, options.alibi_slopes);
      !s.ok()) {
    return s;
  }
  return ReadOptionalTensor("options.sinks", wire.has_sinks(), wire.sinks(), skeleton, options.sinks);
}

absl::Status ReadRope(const v1::Rope& wire, Rope& rope) {
  if (absl::Status s = CheckKnown("options.rope.style", wire.style()); !s.ok()) return s;
  rope.style = FromWire(wire.style());
  if (wire.has_rotary_dim()) rope.rotary_dim = wire.rotary_dim();
  if (wire.has_theta()) rope.theta = wire.theta();
  if (wire.has_scaling_factor()) rope.scaling_factor = wire.scaling_factor();
  rope.query_positions = ListOf(wire.query_positions());
  rope.key_positions = ListOf(wire.key_positions());
  return absl::OkStatus();
}

template <typename T>
void WriteList(const std::vector<T>& list, google::protobuf::RepeatedField<T>& wire) {
  wire.Add(list.begin(), list.end());
}

void WriteRope(const Rope& rope, v1::Rope& wire) {
  wire.set_style(ToWire(rope.style));
  if (rope.rotary_dim) wire.set_rotary_dim(ClampedInteger(*rope.rotary_dim));
  if (rope.theta) wire.set_theta(*rope.theta);
  if (rope.scaling_factor) wire.set_scaling_factor(*rope.scaling_factor);
  WriteList(rope.query_positions, *wire.mutable_query_positions());
  WriteList(rope.key_positions, *wire.mutable_key_positions());
}

// Options without tensors.
v1::AttentionOptions SmallOptions(const AttentionOptions& options) {
  v1::AttentionOptions wire;
  if (options.scale) wire.set_scale(*options.scale);
  wire.set_causal(options.causal);
  wire.set_alignment(ToWire(options.alignment));
  WriteList(options.q_offset, *wire.mutable_q_offset());
  WriteList(options.k_offset, *wire.mutable_k_offset());
  if (options.window) {
    v1::Window& window = *wire.mutable_window();
    if (options.window->left) window.set_left(*options.window->left);
    if (options.window->right) window.set_right(*options.window->right);
  }
  WriteList(options.q_lengths, *wire.mutable_q_lengths());
  WriteList(options.kv_lengths, *wire.mutable_kv_lengths());
  WriteList(options.kv_starts, *wire.mutable_kv_starts());
  if (options.softcap) wire.set_softcap(*options.softcap);
  if (options.documents) {
    WriteList(options.documents->query_ids, *wire.mutable_documents()->mutable_query_ids());
    WriteList(options.documents->key_ids, *wire.mutable_documents()->mutable_key_ids());
  }
  WriteList(options.prefix_lengths, *wire.mutable_prefix_lengths());
  if (options.rope) WriteRope(*options.rope, *wire.mutable_rope());
  return wire;
}

}  // namespace

int32_t ClampedInteger(int64_t value) {
  using Limits = std::numeric_limits<int32_t>;
  return static_cast<int32_t>(std::clamp<int64_t>(value, Limits::min(), Limits::max()));
}

absl::Status ReadOptions(const v1::AttentionOptions& wire, const Skeleton& skeleton, AttentionOptions& options) {
  if (absl::Status s = CheckKnown("options.alignment", wire.alignment()); !s.ok()) return s;
  if (absl::Status s = CheckKnown("options.precision", wire.precision()); !s.ok()) return s;
  if (wire.precision() == v1::PRECISION_BFLOAT16_PRODUCTS) return UnservedValue("options.precision", wire.precision());
  if (wire.has_scale()) options.scale = wire.scale();
  options.causal = wire.causal();
  options.alignment = FromWire(wire.alignment());
  options.q_offset = ListOf(wire.q_offset());
  options.k_offset = ListOf(wire.k_offset());
  if (wire.has_window()) {
    Window& window = options.window.emplace();
    if (wire.window().has_left()) window.left = wire.window().left();
    if (wire.window().has_right()) window.right = wire.window().right();
  }
  options.q_lengths = ListOf(wire.q_lengths());
  options.kv_lengths = ListOf(wire.kv_lengths());
  options.kv_starts = ListOf(wire.kv_starts());
  if (wire.has_softcap()) options.softcap = wire.softcap();
  if (wire.has_documents()) {
    options.documents = {ListOf(wire.documents().query_ids()), ListOf(wire.documents().key_ids())};
  }
  options.prefix_lengths = ListOf(wire.prefix_lengths());
  if (absl::Status s = ReadOptionTensors(wire, skeleton, options); !s.ok()) return s;
  return wire.has_rope() ? ReadRope(wire.rope(), options.rope.emplace()) : absl::OkStatus();
}

absl::Status ReadOutputs(const v1::Outputs& wire, AttentionOutputs& outputs) {
  if (absl::Status s = CheckKnown("outputs.dtype", wire.dtype()); !s.ok()) return s;
  if (wire.dtype() != v1::DATA_TYPE_UNSPECIFIED) outputs.dtype = FromWire(wire.dtype());
  outputs.lse = wire.has_lse();
  if (wire.has_weights()) {
    const auto heads = wire.weights().heads();
    if (absl::Status s = CheckKnown("outputs.weights.heads", heads); !s.ok()) return s;
    outputs.weights = {heads == v1::WeightsOutput::HEADS_MEAN, ListOf(wire.weights().rows())};
  }
  if (wire.has_scores()) {
    const auto stage = wire.scores().stage();
    if (absl::Status s = CheckKnown("outputs.scores.stage", stage); !s.ok()) return s;
    outputs.scores = FromWire(stage);
  }
  if (wire.has_top_k()) outputs.top_k = {wire.top_k().k(), ListOf(wire.top_k().rows())};
  if (wire.has_diagnostics()) {
    const v1::DiagnosticsOutput& asked = wire.diagnostics();
    DiagnosticsOutput& diagnostics = outputs.diagnostics.emplace();
    diagnostics.rows = asked.rows();
    if (asked.has_first_keys()) diagnostics.first_keys = asked.first_keys();
    if (asked.has_window()) diagnostics.window = asked.window();
    if (asked.has_columns()) diagnostics.columns = asked.columns();
  }
  if (wire.has_heatmap()) {
    HeatmapOutput& heatmap = outputs.heatmap.emplace();
    if (wire.heatmap().has_cells()) heatmap.cells = wire.heatmap().cells();
  }
  return absl::OkStatus();
}

void WriteOptions(const AttentionOptions& options, ChunkWriter& out) {
  using Wire = v1::AttentionOptions;
  out.Fields(SmallOptions(options));
  for (const Mask& mask : options.masks) {
    v1::Mask small;
    small.set_polarity(ToWire(mask.polarity));
    out.Message(Wire::kMasksFieldNumber, [&] {
      out.Fields(small);
      WriteTensor(v1::Mask::kTensorFieldNumber, mask.tensor, out);
    });
  }
  for (const TensorView& bias : options.biases) WriteTensor(Wire::kBiasesFieldNumber, bias, out);
  if (options.alibi_slopes) WriteTensor(Wire::kAlibiSlopesFieldNumber, *options.alibi_slopes, out);
  if (options.sinks) WriteTensor(Wire::kSinksFieldNumber, *options.sinks, out);
}

void WriteOutputs(const AttentionOutputs& outputs, v1::Outputs& wire) {
  if (outputs.dtype) wire.set_dtype(ToWire(*outputs.dtype));
  if (outputs.lse) wire.mutable_lse();
  if (outputs.weights) {
    v1::WeightsOutput& weights = *wire.mutable_weights();
    weights.set_heads(outputs.weights->mean ? v1::WeightsOutput::HEADS_MEAN : v1::WeightsOutput::HEADS_EACH);
    WriteList(outputs.weights->rows, *weights.mutable_rows());
  }
  if (outputs.scores) wire.mutable_scores()->set_stage(ToWire(*outputs.scores));
  if (outputs.top_k) {
    wire.mutable_top_k()->set_k(ClampedInteger(outputs.top_k->k));
    WriteList(outputs.top_k->rows, *wire.mutable_top_k()->mutable_rows());
  }
  if (outputs.diagnostics) {
    v1::DiagnosticsOutput& diagnostics = *wire.mutable_diagnostics();
    const DiagnosticsOutput& asked = *outputs.diagnostics;
    diagnostics.set_rows(asked.rows);
    if (asked.first_keys) diagnostics.set_first_keys(ClampedInteger(*asked.first_keys));
    if (asked.window) diagnostics.set_window(ClampedInteger(*asked.window));
    if (asked.columns) diagnostics.set_columns(ClampedInteger(*asked.columns));
  }
  if (outputs.heatmap) {
    v1::HeatmapOutput& heatmap = *wire.mutable_heatmap();
    if (outputs.heatmap->cells) heatmap.set_cells(ClampedInteger(*outputs.heatmap->cells));
  }
  if (outputs.explain) wire.mutable_explain();
}

}  // namespace attnd::codec
