// CheckWeights: which tensors go together, and how large they are.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/tensor_checks.h"
#include "core/errors.h"
#include "core/linear/projection_weights.h"

namespace attnd {
namespace {

using Role = WeightRole;

constexpr Role kBlockRoles[] = {
    Role::kAttentionNormShift, Role::kFfnNormScale, Role::kFfnNormShift, Role::kUp, Role::kUpBias, Role::kGate,
    Role::kGateBias,           Role::kDown,         Role::kDownBias};

// `role` is there only if `with` is.
struct Companion {
  Role role;
  Role with;
};
constexpr Companion kCompanions[] = {
    {Role::kQueryBias, Role::kQuery},
    {Role::kKeyBias, Role::kKey},
    {Role::kValueBias, Role::kValue},
    {Role::kOutputBias, Role::kOutput},
    {Role::kQkvBias, Role::kQkv},
    {Role::kExtraKey, Role::kExtraValue},
    {Role::kExtraValue, Role::kExtraKey},
    {Role::kFfnNormScale, Role::kUp},
    {Role::kFfnNormShift, Role::kFfnNormScale},
    {Role::kUpBias, Role::kUp},
    {Role::kGate, Role::kUp},
    {Role::kGateBias, Role::kGate},
    {Role::kDown, Role::kUp},
    {Role::kDownBias, Role::kDown},
    {Role::kUp, Role::kFfnNormScale},
    {Role::kUp, Role::kDown},
};

// An extent of a tensor that is there; of matrices 0 is in, 1 is out.
struct Extent {
  Role role;
  size_t index = 0;
};
struct EqualExtents {
  Extent extent;
  Extent to;
};
constexpr size_t kIn = 0;
constexpr size_t kOut = 1;
// Pairs of which one is not there are passed over.
constexpr EqualExtents kEqual[] = {
    {{Role::kQueryBias}, {Role::kQuery, kOut}},
    {{Role::kKeyBias}, {Role::kKey, kOut}},
    {{Role::kValueBias}, {Role::kValue, kOut}},
    {{Role::kOutputBias}, {Role::kOutput, kOut}},
    {{Role::kQkvBias}, {Role::kQkv, kOut}},
    {{Role::kExtraKey}, {Role::kKey, kOut}},
    {{Role::kExtraValue}, {Role::kValue, kOut}},
    {{Role::kAttentionNormScale}, {Role::kQuery, kIn}},
    {{Role::kAttentionNormScale}, {Role::kQkv, kIn}},
    {{Role::kAttentionNormShift}, {Role::kAttentionNormScale}},
    {{Role::kFfnNormScale}, {Role::kAttentionNormScale}},
    {{Role::kFfnNormShift}, {Role::kAttentionNormScale}},
    {{Role::kUp, kIn}, {Role::kAttentionNormScale}},
    {{Role::kUpBias}, {Role::kUp, kOut}},
    {{Role::kGate, kIn}, {Role::kUp, kIn}},
    {{Role::kGate, kOut}, {Role::kUp, kOut}},
    {{Role::kGateBias}, {Role::kGate, kOut}},
    {{Role::kDown, kIn}, {Role::kUp, kOut}},
    {{Role::kDown, kOut}, {Role::kAttentionNormScale}},
    {{Role::kDownBias}, {Role::kDown, kOut}},
    // A layer's output is added to what came in.
    {{Role::kOutput, kOut}, {Role::kAttentionNormScale}},
};

size_t RankOf(WeightKind kind) { return kind == WeightKind::kVector ? 1 : 2; }

class Checker {
 public:
  Checker(const ProjectionWeights& weights, std::string_view where, bool without_bytes)
      : weights_(weights), where_(where), without_bytes_(without_bytes) {}

  absl::StatusOr<WeightShapes> Check() {
    if (weights_.orientation == Orientation::kUnset) {
      return InvalidField(PathOf("orientation"), "is not set; IN_OUT or OUT_IN is required");
    }
    for (const WeightRoleInfo& info : WeightRoles()) {
      if (absl::Status s = CheckTensorOf(info); !s.ok()) return s;
    }
    for (const auto& check : {&Checker::CheckProjections, &Checker::CheckTogether, &Checker::CheckExtents}) {
      if (absl::Status s = (this->*check)(); !s.ok()) return s;
    }
    return shapes_;
  }

 private:
  absl::Status CheckTensorOf(const WeightRoleInfo& info);
  absl::Status CheckProjections() const;
  absl::Status CheckTogether() const;
  absl::Status CheckExtents() const;
  [[nodiscard]] absl::Status CheckEqual(const Extent& extent, const Extent& to) const;

  [[nodiscard]] bool has(Role role) const { return weights_.tensors[role].has_value(); }
  [[nodiscard]] std::string PathOf(std::string_view name) const {
    return where_.empty() ? std::string(name) : FieldPath(where_, name);
  }
  [[nodiscard]] std::string PathOf(Role role) const { return PathOf(InfoOf(role).name); }
  // Where the extent is in the tensor as it came.
  [[nodiscard]] size_t PlaceOf(const Extent& extent) const {
    const bool swapped = InfoOf(extent.role).kind == WeightKind::kMatrix && weights_.orientation == Orientation::kOutIn;
    return swapped ? 1 - extent.index : extent.index;
  }

  const ProjectionWeights& weights_;
  const std::string_view where_;
  const bool without_bytes_;
  WeightShapes shapes_;
  int64_t elements_ = 0;
};

absl::Status Checker::CheckTensorOf(const WeightRoleInfo& info) {
  if (!has(info.role)) return absl::OkStatus();
  const TensorView& tensor = *weights_.tensors[info.role];
  const std::string path = PathOf(info.role);
  if (!IsFloat(tensor.dtype)) {
    return InvalidField(FieldPath(path, "dtype"),
                        absl::StrCat("is ", DataTypeName(tensor.dtype), "; FLOAT32, FLOAT16 or BFLOAT16 is allowed"));
  }
  const size_t rank = RankOf(info.kind);
  if (tensor.shape.size() != rank ||
      std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t n) { return n < 1; })) {
    return InvalidField(FieldPath(path, "shape"),
                        absl::StrCat("is ", ShapeString(tensor.shape), "; ", rank, rank == 1 ? " extent" : " extents",
                                     " >= 1 ", rank == 1 ? "is" : "are", " allowed"));
  }
  const std::optional<int64_t> elements = Product(tensor.shape);
  if (!elements.has_value() || *elements > kMaxWeightElements - elements_) {
    return InvalidField(FieldPath(path, "shape"),
                        absl::StrCat("is ", ShapeString(tensor.shape), ", which with the tensors before it makes over ",
                                     kMaxWeightElements, " elements; so many are allowed"));
  }
  elements_ += *elements;
  auto& extents = shapes_.extents[info.role];
  extents = tensor.shape;
  if (info.kind == WeightKind::kMatrix && weights_.orientation == Orientation::kOutIn) {
    std::swap(extents[kIn], extents[kOut]);
  }
  return without_bytes_ ? absl::OkStatus() : CheckTensor(path, tensor, TensorUse::kNumbers);
}

absl::Status Checker::CheckProjections() const {
  constexpr Role kSeparate[] = {Role::kQuery,     Role::kKey,     Role::kValue,
                                Role::kQueryBias, Role::kKeyBias, Role::kValueBias};
  if (has(Role::kQkv)) {
    for (const Role role : kSeparate) {
      if (!has(role)) continue;
      return InvalidField(PathOf(role),
                          absl::StrCat("came with w_qkv, which is instead of it; ",
                                       InfoOf(role).kind == WeightKind::kMatrix ? "one" : "b_qkv", " is allowed"));
    }
    return absl::OkStatus();
  }
  for (const Role role : {Role::kQuery, Role::kKey, Role::kValue}) {
    if (!has(role)) {
      return InvalidField(PathOf(role), "is not there; w_query, w_key and w_value, or w_qkv, are required");
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckTogether() const {
  for (const Role role : kBlockRoles) {
    if (has(role) && !has(Role::kAttentionNormScale)) {
      return InvalidField(PathOf(Role::kAttentionNormScale),
                          absl::StrCat("is not there; it is required with ", InfoOf(role).name));
    }
  }
  for (const auto& [role, with] : kCompanions) {
    if (has(role) && !has(with)) {
      return InvalidField(PathOf(with), absl::StrCat("is not there; it is required with ", InfoOf(role).name));
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckEqual(const Extent& extent, const Extent& to) const {
  if (!has(extent.role) || !has(to.role)) return absl::OkStatus();
  const int64_t came = shapes_.extents[extent.role][extent.index];
  const int64_t wanted = shapes_.extents[to.role][to.index];
  if (came == wanted) return absl::OkStatus();
  return InvalidField(FieldPath(PathOf(extent.role), "shape"),
                      absl::StrCat("is ", ShapeString(weights_.tensors[extent.role]->shape), ": extent ",
                                   PlaceOf(extent), " is ", came, "; it must be ", wanted, " as extent ", PlaceOf(to),
                                   " of ", InfoOf(to.role).name, ", ", ShapeString(weights_.tensors[to.role]->shape)));
}

absl::Status Checker::CheckExtents() const {
  for (const auto& [extent, to] : kEqual) {
    if (absl::Status s = CheckEqual(extent, to); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WeightShapes> CheckWeights(const ProjectionWeights& weights, std::string_view where,
                                          bool without_bytes) {
  return Checker(weights, where, without_bytes).Check();
}

}  // namespace attnd
