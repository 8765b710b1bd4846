#include "client/load/presets.h"

#include <array>

#include "absl/strings/str_join.h"

namespace attnd::load {
namespace {

constexpr std::array kPresets = {
    Preset{"bert-base", "4 sentences of 128, 87, 52 and 34 tokens, padded; 12 heads of 64"},
    Preset{"llama-decode", "1 query over 1024, 2048 or 4096 keys; 32 heads over 8 of 128, bf16"},
    Preset{"vit", "an image of 197 patches; 12 heads of 64"},
    Preset{"tiny", "16 tokens, 1 head of 64: what a call costs beside the computation"},
    Preset{"rag-rerank", "8 pairs of query and passage, 61 to 244 tokens, packed; 12 heads of 32"},
};

}  // namespace

std::span<const Preset> Presets() { return kPresets; }

std::optional<WorkShape> ShapeOfPreset(std::string_view name) {
  WorkShape shape;
  shape.name = std::string(name);
  if (name == "bert-base") {
    shape.batch = 4;
    shape.kv_lengths = {128, 87, 52, 34};
  } else if (name == "llama-decode") {
    shape.heads = 32;
    shape.kv_heads = 8;
    shape.q_len = {1};
    shape.kv_len = {1024, 2048, 4096};
    shape.head_dim = 128;
    shape.dtype = DataType::kBfloat16;
    shape.causal = true;
  } else if (name == "vit") {
    shape.q_len = {197};
  } else if (name == "tiny") {
    shape.heads = 1;
    shape.q_len = {16};
  } else if (name == "rag-rerank") {
    shape.head_dim = 32;
    shape.packed = {137, 208, 94, 171, 244, 61, 122, 186};
  } else {
    return std::nullopt;
  }
  return shape;
}

std::string PresetNames() {
  return absl::StrJoin(kPresets, ", ", [](std::string* text, const Preset& preset) { text->append(preset.name); });
}

}  // namespace attnd::load
