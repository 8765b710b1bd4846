#include "core/attention/tensor_checks.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace attnd {

std::string FieldPath(std::string_view tensor, std::string_view part) {
  return std::string(tensor) + "." + std::string(part);
}

absl::Status CheckTensor(std::string_view name, const TensorView& tensor, TensorUse use) {
  if (IsFloat(tensor.dtype) != (use == TensorUse::kNumbers)) {
    return InvalidField(FieldPath(name, "dtype"),
                        absl::StrCat("is ", DataTypeName(tensor.dtype), "; ",
                                     use == TensorUse::kNumbers ? "FLOAT32, FLOAT16 or BFLOAT16 is allowed"
                                                                : "BOOL or BIT is allowed (numbers are a bias)"));
  }
  if (std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t extent) { return extent < 0; })) {
    return InvalidField(FieldPath(name, "shape"), absl::StrCat("is ", ShapeString(tensor.shape), "; extents are >= 0"));
  }
  const std::optional<int64_t> bytes = TensorBytes(tensor.dtype, tensor.shape);
  if (!bytes.has_value()) {
    return InvalidField(FieldPath(name, "shape"),
                        absl::StrCat("is ", ShapeString(tensor.shape), ": more bytes than 2^63 - 1"));
  }
  if (static_cast<uint64_t>(*bytes) != tensor.bytes.size()) {
    return InvalidField(FieldPath(name, "data"),
                        absl::StrCat("has ", tensor.bytes.size(), " bytes; shape ", ShapeString(tensor.shape), " of ",
                                     DataTypeName(tensor.dtype), " needs ", *bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckPerHead(std::string_view name, const std::optional<TensorView>& tensor, int64_t heads) {
  if (!tensor.has_value()) return absl::OkStatus();
  if (absl::Status s = CheckTensor(name, *tensor, TensorUse::kNumbers); !s.ok()) return s;
  if (tensor->shape.size() == 1 && tensor->shape[0] == heads) return absl::OkStatus();
  return InvalidField(
      FieldPath(name, "shape"),
      absl::StrCat("is ", ShapeString(tensor->shape), "; one element per query head, [", heads, "], is allowed"));
}

}  // namespace attnd
