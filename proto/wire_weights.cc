#include "proto/wire_weights.h"

#include <google/protobuf/descriptor.h>

#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "proto/wire_tensors.h"
#include "proto/wire_types.h"

namespace attnd::codec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::string_view kBlockPrefix = "block.";

// Where a role's tensor is: in the weights or in their block.
struct Place {
  bool in_block = false;
  const FieldDescriptor* field = nullptr;
};

const PerRole<Place>& Places() {
  static const auto& places = *[] {
    auto* all = new PerRole<Place>;
    for (const WeightRoleInfo& info : WeightRoles()) {
      const std::string_view name = info.name;
      const bool in_block = name.starts_with(kBlockPrefix);
      const auto* type = in_block ? v1::BlockWeights::descriptor() : v1::ProjectionWeights::descriptor();
      (*all)[info.role] = {in_block,
                           type->FindFieldByName(std::string(name.substr(in_block ? kBlockPrefix.size() : 0)))};
    }
    return all;
  }();
  return places;
}

// Of the tensors that are there.
std::vector<WeightRole> RolesOf(const ProjectionWeights& weights, bool in_block) {
  std::vector<WeightRole> roles;
  for (const WeightRoleInfo& info : WeightRoles()) {
    if (weights.tensors[info.role].has_value() && Places()[info.role].in_block == in_block) roles.push_back(info.role);
  }
  return roles;
}

// The role's tensor; nullptr if it is not there.
const v1::Tensor* TensorAt(const v1::ProjectionWeights& wire, WeightRole role) {
  const auto& [in_block, field] = Places()[role];
  const Message& holder = in_block ? static_cast<const Message&>(wire.block()) : wire;
  if (!holder.GetReflection()->HasField(holder, field)) return nullptr;
  return &dynamic_cast<const v1::Tensor&>(holder.GetReflection()->GetMessage(holder, field));
}

v1::Tensor* MutableTensorAt(v1::ProjectionWeights& wire, WeightRole role) {
  const auto& [in_block, field] = Places()[role];
  Message& holder = in_block ? static_cast<Message&>(*wire.mutable_block()) : wire;
  return &dynamic_cast<v1::Tensor&>(*holder.GetReflection()->MutableMessage(&holder, field));
}

}  // namespace

absl::Status ReadProjectionWeights(const std::string& where, const v1::ProjectionWeights& wire,
                                   const Skeleton& skeleton, ProjectionWeights& weights) {
  if (absl::Status s = CheckKnown(where + ".orientation", wire.orientation()); !s.ok()) return s;
  weights.orientation = FromWire(wire.orientation());
  for (const WeightRoleInfo& info : WeightRoles()) {
    const v1::Tensor* tensor = TensorAt(wire, info.role);
    if (tensor == nullptr) continue;
    TensorView& view = weights.tensors[info.role].emplace();
    if (absl::Status s = ReadTensor(absl::StrCat(where, ".", info.name), true, *tensor, skeleton, view); !s.ok()) {
      return s;
    }
  }
  return absl::OkStatus();
}

absl::Status ReadWeightsWithoutElements(const std::string& where, const v1::ProjectionWeights& wire,
                                        const Skeleton& skeleton, ProjectionWeights& weights) {
  if (absl::Status s = ReadProjectionWeights(where, wire, skeleton, weights); !s.ok()) return s;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (!tensor.has_value() || tensor->bytes.empty()) continue;
    return InvalidField(absl::StrCat(where, ".", info.name),
                        absl::StrCat("came with ", tensor->bytes.size(), " bytes of elements; they come in chunks"));
  }
  return absl::OkStatus();
}

void WriteProjectionWeights(const ProjectionWeights& weights, ChunkWriter& out) {
  v1::ProjectionWeights small;
  small.set_orientation(ToWire(weights.orientation));
  out.Fields(small);
  const auto write = [&](const std::vector<WeightRole>& roles) {
    for (const WeightRole role : roles) WriteTensor(Places()[role].field->number(), *weights.tensors[role], out);
  };
  write(RolesOf(weights, /*in_block=*/false));
  const std::vector<WeightRole> block = RolesOf(weights, /*in_block=*/true);
  if (!block.empty()) out.Message(v1::ProjectionWeights::kBlockFieldNumber, [&] { write(block); });
}

v1::ProjectionWeights DescribeProjectionWeights(const ProjectionWeights& weights) {
  v1::ProjectionWeights wire;
  wire.set_orientation(ToWire(weights.orientation));
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (!tensor.has_value()) continue;
    v1::Tensor* described = MutableTensorAt(wire, info.role);
    described->set_dtype(ToWire(tensor->dtype));
    described->mutable_shape()->Add(tensor->shape.begin(), tensor->shape.end());
  }
  return wire;
}

v1::ProjectionWeights::Orientation ToWire(Orientation orientation) {
  switch (orientation) {
    case Orientation::kInOut:
      return v1::ProjectionWeights::ORIENTATION_IN_OUT;
    case Orientation::kOutIn:
      return v1::ProjectionWeights::ORIENTATION_OUT_IN;
    case Orientation::kUnset:
      break;
  }
  return v1::ProjectionWeights::ORIENTATION_UNSPECIFIED;
}

Orientation FromWire(v1::ProjectionWeights::Orientation orientation) {
  switch (orientation) {
    case v1::ProjectionWeights::ORIENTATION_IN_OUT:
      return Orientation::kInOut;
    case v1::ProjectionWeights::ORIENTATION_OUT_IN:
      return Orientation::kOutIn;
    default:
      return Orientation::kUnset;
  }
}

}  // namespace attnd::codec
