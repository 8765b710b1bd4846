#include "core/attention/layout.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/attention/tensor_checks.h"
#include "core/errors.h"

namespace attnd {
namespace {

// Splits the last dimension of a 3-D tensor into heads.
absl::StatusOr<TensorDims> SplitHeads(std::string_view name, const TensorView& tensor, std::string_view heads_name,
                                      std::optional<int64_t> heads) {
  if (!heads.has_value()) {
    return InvalidField(heads_name, absl::StrCat("is required for a 3-D ", std::string(name), " in TOKENS_FIRST"));
  }
  if (*heads < 1) return InvalidField(heads_name, absl::StrCat("is ", *heads, "; at least 1 is allowed"));
  const auto& s = tensor.shape;
  if (s[2] % *heads != 0) {
    return InvalidField(FieldPath(name, "shape"),
                        absl::StrCat("is ", ShapeString(s), ": its last dimension is no multiple of ",
                                     std::string(heads_name), " = ", *heads));
  }
  return TensorDims{s[0], *heads, s[1], s[2] / *heads};
}

const char* RanksOf(Layout layout) {
  switch (layout) {
    case Layout::kHeadsFirst:
      return "HEADS_FIRST takes 4-D [batch, heads, len, dim] or 2-D [len, dim]";
    case Layout::kTokensFirst:
      return "TOKENS_FIRST takes 4-D [batch, len, heads, dim] or 3-D [batch, len, heads * dim]";
    case Layout::kPacked:
      return "PACKED takes 3-D [total_len, heads, dim]";
  }
  return "";
}

}  // namespace

absl::StatusOr<TensorDims> DimsOf(std::string_view name, const TensorView& tensor, Layout layout,
                                  std::string_view heads_name, std::optional<int64_t> heads) {
  const auto& s = tensor.shape;
  TensorDims dims;
  if (layout == Layout::kHeadsFirst && s.size() == 4) {
    dims = {s[0], s[1], s[2], s[3]};
  } else if (layout == Layout::kHeadsFirst && s.size() == 2) {
    dims = {1, 1, s[0], s[1]};
  } else if (layout == Layout::kTokensFirst && s.size() == 4) {
    dims = {s[0], s[2], s[1], s[3]};
  } else if (layout == Layout::kTokensFirst && s.size() == 3) {
    auto split = SplitHeads(name, tensor, heads_name, heads);
    if (!split.ok()) return split.status();
    dims = *split;
  } else if (layout == Layout::kPacked && s.size() == 3) {
    dims = {1, s[1], s[0], s[2]};
  } else {
    return InvalidField(FieldPath(name, "shape"),
                        absl::StrCat("is ", ShapeString(s), ", ", s.size(), "-D; ", RanksOf(layout)));
  }
  if (heads.has_value() && *heads != dims.heads) {
    return InvalidField(heads_name, absl::StrCat("is ", *heads, ", but ", std::string(name), " has ", dims.heads));
  }
  if (dims.heads < 1 || dims.dim < 1) {
    return InvalidField(FieldPath(name, "shape"),
                        absl::StrCat("is ", ShapeString(s), ": heads and dim are at least 1"));
  }
  return dims;
}

Strides StridesOf(Layout layout, int64_t heads, int64_t len, int64_t dim) {
  if (layout == Layout::kHeadsFirst) return {heads * len * dim, len * dim, dim};
  return {layout == Layout::kPacked ? 0 : len * heads * dim, dim, heads * dim};
}

}  // namespace attnd
