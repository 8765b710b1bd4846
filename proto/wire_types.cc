#include "proto/wire_types.h"

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace attnd::codec {
namespace {

// The enumerators that mean something, first to last.
template <typename Core, typename Wire>
struct Pair {
  Core core;
  Wire wire;
};

constexpr Pair<DataType, v1::DataType> kDataTypes[] = {
    {DataType::kFloat32, v1::DATA_TYPE_FLOAT32},   {DataType::kFloat16, v1::DATA_TYPE_FLOAT16},
    {DataType::kBfloat16, v1::DATA_TYPE_BFLOAT16}, {DataType::kBool, v1::DATA_TYPE_BOOL},
    {DataType::kBit, v1::DATA_TYPE_BIT},
};
constexpr Pair<Layout, v1::Layout> kLayouts[] = {
    {Layout::kHeadsFirst, v1::LAYOUT_HEADS_FIRST},
    {Layout::kTokensFirst, v1::LAYOUT_TOKENS_FIRST},
    {Layout::kPacked, v1::LAYOUT_PACKED},
};
constexpr Pair<Alignment, v1::Alignment> kAlignments[] = {
    {Alignment::kTopLeft, v1::ALIGNMENT_TOP_LEFT},
    {Alignment::kBottomRight, v1::ALIGNMENT_BOTTOM_RIGHT},
    {Alignment::kOffset, v1::ALIGNMENT_OFFSET},
};
constexpr Pair<Polarity, v1::Mask::Polarity> kPolarities[] = {
    {Polarity::kKeep, v1::Mask::POLARITY_KEEP},
    {Polarity::kDrop, v1::Mask::POLARITY_DROP},
};
constexpr Pair<RopeStyle, v1::Rope::Style> kRopeStyles[] = {
    {RopeStyle::kHalf, v1::Rope::STYLE_HALF},
    {RopeStyle::kInterleaved, v1::Rope::STYLE_INTERLEAVED},
};
constexpr Pair<ScoreStage, v1::ScoresOutput::Stage> kScoreStages[] = {
    {ScoreStage::kUnscaled, v1::ScoresOutput::STAGE_UNSCALED},
    {ScoreStage::kScaled, v1::ScoresOutput::STAGE_SCALED},
    {ScoreStage::kCapped, v1::ScoresOutput::STAGE_CAPPED},
    {ScoreStage::kBiased, v1::ScoresOutput::STAGE_BIASED},
};

constexpr Pair<PositionEncoding, v1::PositionEncoding> kPositionEncodings[] = {
    {PositionEncoding::kSinusoidal, v1::POSITION_ENCODING_SINUSOIDAL},
    {PositionEncoding::kLearned, v1::POSITION_ENCODING_LEARNED},
};
constexpr Pair<NormPlacement, v1::TransformerBlock::NormPlacement> kNormPlacements[] = {
    {NormPlacement::kPre, v1::TransformerBlock::NORM_PLACEMENT_PRE},
    {NormPlacement::kPost, v1::TransformerBlock::NORM_PLACEMENT_POST},
};
constexpr Pair<NormKind, v1::TransformerBlock::Norm> kNorms[] = {
    {NormKind::kLayerNorm, v1::TransformerBlock::NORM_LAYER_NORM},
    {NormKind::kRmsNorm, v1::TransformerBlock::NORM_RMS_NORM},
};
constexpr Pair<Activation, v1::TransformerBlock::Activation> kActivations[] = {
    {Activation::kGelu, v1::TransformerBlock::ACTIVATION_GELU},
    {Activation::kGeluTanh, v1::TransformerBlock::ACTIVATION_GELU_TANH},
    {Activation::kRelu, v1::TransformerBlock::ACTIVATION_RELU},
    {Activation::kSwiglu, v1::TransformerBlock::ACTIVATION_SWIGLU},
};

template <typename Core, typename Wire, size_t N>
Core CoreOf(const Pair<Core, Wire> (&pairs)[N], Wire wire, Core unset) {
  for (const auto& pair : pairs) {
    if (pair.wire == wire) return pair.core;
  }
  return unset;
}

// The enumerator 0 is the unspecified one in every enum of the contract.
template <typename Core, typename Wire, size_t N>
Wire WireOf(const Pair<Core, Wire> (&pairs)[N], Core core) {
  for (const auto& pair : pairs) {
    if (pair.core == core) return pair.wire;
  }
  return static_cast<Wire>(0);
}

std::string AllowedWords(const google::protobuf::EnumDescriptor& type) {
  std::string words;
  for (int i = 1; i < type.value_count(); ++i) absl::StrAppend(&words, i > 1 ? ", " : "", Word(*type.value(i)));
  return words;
}

}  // namespace

std::string Word(const google::protobuf::EnumValueDescriptor& value) {
  const std::string& unspecified = value.type()->value(0)->name();
  const size_t prefix = unspecified.size() - std::string_view("UNSPECIFIED").size();
  return value.name().substr(prefix);
}

absl::Status CheckKnownNumber(std::string_view field, const google::protobuf::EnumDescriptor& type, int number) {
  if (type.FindValueByNumber(number) != nullptr) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(number, " is no known ", type.name(), "; allowed: ", AllowedWords(type)));
}

DataType FromWire(v1::DataType dtype) { return CoreOf(kDataTypes, dtype, DataType::kFloat32); }
Layout FromWire(v1::Layout layout) { return CoreOf(kLayouts, layout, Layout::kHeadsFirst); }
Alignment FromWire(v1::Alignment alignment) { return CoreOf(kAlignments, alignment, Alignment::kUnset); }
Polarity FromWire(v1::Mask::Polarity polarity) { return CoreOf(kPolarities, polarity, Polarity::kUnset); }
RopeStyle FromWire(v1::Rope::Style style) { return CoreOf(kRopeStyles, style, RopeStyle::kUnset); }
ScoreStage FromWire(v1::ScoresOutput::Stage stage) { return CoreOf(kScoreStages, stage, ScoreStage::kUnset); }

PositionEncoding FromWire(v1::PositionEncoding encoding) {
  return CoreOf(kPositionEncodings, encoding, PositionEncoding::kNone);
}
NormPlacement FromWire(v1::TransformerBlock::NormPlacement placement) {
  return CoreOf(kNormPlacements, placement, NormPlacement::kUnset);
}
NormKind FromWire(v1::TransformerBlock::Norm norm) { return CoreOf(kNorms, norm, NormKind::kUnset); }
Activation FromWire(v1::TransformerBlock::Activation activation) {
  return CoreOf(kActivations, activation, Activation::kUnset);
}

v1::DataType ToWire(DataType dtype) { return WireOf(kDataTypes, dtype); }
v1::Layout ToWire(Layout layout) { return WireOf(kLayouts, layout); }
v1::Alignment ToWire(Alignment alignment) { return WireOf(kAlignments, alignment); }
v1::Mask::Polarity ToWire(Polarity polarity) { return WireOf(kPolarities, polarity); }
v1::Rope::Style ToWire(RopeStyle style) { return WireOf(kRopeStyles, style); }
v1::ScoresOutput::Stage ToWire(ScoreStage stage) { return WireOf(kScoreStages, stage); }
v1::PositionEncoding ToWire(PositionEncoding encoding) { return WireOf(kPositionEncodings, encoding); }
v1::TransformerBlock::NormPlacement ToWire(NormPlacement placement) { return WireOf(kNormPlacements, placement); }
v1::TransformerBlock::Norm ToWire(NormKind norm) { return WireOf(kNorms, norm); }
v1::TransformerBlock::Activation ToWire(Activation activation) { return WireOf(kActivations, activation); }

}  // namespace attnd::codec
