// The contract's enumerators and core's, and what errors call them. Used inside proto/.
#ifndef ATTND_PROTO_WIRE_TYPES_H_
#define ATTND_PROTO_WIRE_TYPES_H_

#include <google/protobuf/generated_enum_reflection.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "attnd/v1/attention.pb.h"
#include "attnd/v1/options.pb.h"
#include "attnd/v1/tensor.pb.h"
#include "core/attention/request.h"
#include "core/attention/tensor.h"
#include "core/linear/multihead_request.h"

namespace attnd::codec {

// An enumerator as users know it: "HEADS_FIRST" for LAYOUT_HEADS_FIRST.
std::string Word(const google::protobuf::EnumValueDescriptor& value);

// That `number` is an enumerator of `type`; if not, the error says which there are.
absl::Status CheckKnownNumber(std::string_view field, const google::protobuf::EnumDescriptor& type, int number);

template <typename Enum>
absl::Status CheckKnown(std::string_view field, Enum value) {
  if (value == 0) return absl::OkStatus();  // every enum has it
  return CheckKnownNumber(field, *google::protobuf::GetEnumDescriptor<Enum>(), value);
}

// Unspecified and unknown numbers become the documented default, or kUnset.
DataType FromWire(v1::DataType dtype);
Layout FromWire(v1::Layout layout);
Alignment FromWire(v1::Alignment alignment);
Polarity FromWire(v1::Mask::Polarity polarity);
RopeStyle FromWire(v1::Rope::Style style);
ScoreStage FromWire(v1::ScoresOutput::Stage stage);
PositionEncoding FromWire(v1::PositionEncoding encoding);
NormPlacement FromWire(v1::TransformerBlock::NormPlacement placement);
NormKind FromWire(v1::TransformerBlock::Norm norm);
Activation FromWire(v1::TransformerBlock::Activation activation);

v1::DataType ToWire(DataType dtype);
v1::Layout ToWire(Layout layout);
v1::Alignment ToWire(Alignment alignment);
v1::Mask::Polarity ToWire(Polarity polarity);
v1::Rope::Style ToWire(RopeStyle style);
v1::ScoresOutput::Stage ToWire(ScoreStage stage);
v1::PositionEncoding ToWire(PositionEncoding encoding);
v1::TransformerBlock::NormPlacement ToWire(NormPlacement placement);
v1::TransformerBlock::Norm ToWire(NormKind norm);
v1::TransformerBlock::Activation ToWire(Activation activation);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_WIRE_TYPES_H_
