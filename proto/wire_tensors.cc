#include "proto/wire_tensors.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/attention/simd_rows.h"
#include "core/errors.h"
#include "proto/wire_types.h"

namespace attnd::codec {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian and used in place");

absl::Status CheckForm(const std::string& name, const v1::Tensor& tensor, const TensorPayload& payload) {
  if (payload.values.empty()) return absl::OkStatus();
  if (!payload.data.empty()) {
    return InvalidField(name, absl::StrCat("has both data (", payload.data.size(), " bytes) and values (",
                                           payload.values.size() / sizeof(float), " elements); one is allowed"));
  }
  if (tensor.dtype() == v1::DATA_TYPE_UNSPECIFIED || tensor.dtype() == v1::DATA_TYPE_FLOAT32) return absl::OkStatus();
  if (absl::Status s = CheckKnown(name + ".dtype", tensor.dtype()); !s.ok()) return s;
  return InvalidField(
      name + ".values",
      absl::StrCat("came with dtype ", Word(*v1::DataType_descriptor()->FindValueByNumber(tensor.dtype())),
                   "; allowed with values: FLOAT32"));
}

const Fragments& PresentForm(const TensorPayload& payload) {
  return payload.values.empty() ? payload.data : payload.values;
}

void Write(int field, DataType dtype, std::span<const int64_t> shape, const Fragments& bytes, int bytes_field,
           ChunkWriter& out) {
  out.Message(field, [&] {
    out.Number(v1::Tensor::kDtypeFieldNumber, ToWire(dtype));
    out.Numbers(v1::Tensor::kShapeFieldNumber, shape);
    out.Payload(bytes_field, bytes);
  });
}

absl::Status Malformed(const char* field, std::string_view problem) {
  return absl::InternalError("the response is malformed: " + std::string(field) + ": " + std::string(problem));
}

}  // namespace

absl::Status ReadTensor(const std::string& name, bool present, const v1::Tensor& tensor, const Skeleton& skeleton,
                        TensorView& view) {
  if (!present) return InvalidField(name, "is required");
  const TensorPayload& payload = PayloadOf(skeleton, tensor);
  if (absl::Status s = CheckForm(name, tensor, payload); !s.ok()) return s;
  if (!v1::DataType_IsValid(tensor.dtype())) return CheckKnown(name + ".dtype", tensor.dtype());
  view.dtype = FromWire(tensor.dtype());
  view.shape.assign(tensor.shape().begin(), tensor.shape().end());
  view.bytes = PresentForm(payload);
  return absl::OkStatus();
}

absl::Status ReadOptionalTensor(const std::string& name, bool present, const v1::Tensor& tensor,
                                const Skeleton& skeleton, std::optional<TensorView>& view) {
  return present ? ReadTensor(name, present, tensor, skeleton, view.emplace()) : absl::OkStatus();
}

bool CameAsValues(const v1::Tensor& tensor, const Skeleton& skeleton) {
  return !PayloadOf(skeleton, tensor).values.empty();
}

std::shared_ptr<const void> OwnerOf(std::shared_ptr<const void> message, Skeleton skeleton) {
  if (skeleton.copies.empty()) return message;
  return std::make_shared<std::pair<std::shared_ptr<const void>, decltype(skeleton.copies)>>(
      std::move(message), std::move(skeleton.copies));
}

void WriteTensor(int field, const TensorView& tensor, ChunkWriter& out) {
  Write(field, tensor.dtype, tensor.shape, tensor.bytes, v1::Tensor::kDataFieldNumber, out);
}

void WriteTensor(int field, const ResultTensor& tensor, bool as_values, ChunkWriter& out) {
  const Fragments bytes(std::span<const std::byte>(tensor.data.data(), tensor.data.size()));
  // `values` are packed, so both forms are the same bytes behind another field number.
  const bool values = as_values && tensor.dtype == DataType::kFloat32;
  Write(field, tensor.dtype, tensor.shape, bytes,
        values ? v1::Tensor::kValuesFieldNumber : v1::Tensor::kDataFieldNumber, out);
}

absl::Status ReadReplyTensor(const char* name, const v1::Tensor& wire, const Skeleton& skeleton, ReplyTensor& tensor) {
  const TensorPayload& payload = PayloadOf(skeleton, wire);
  if (!payload.data.empty() && !payload.values.empty()) return Malformed(name, "has both data and values");
  tensor.dtype = FromWire(wire.dtype());
  if (!v1::DataType_IsValid(wire.dtype()) || !IsFloat(tensor.dtype)) {
    return Malformed(name, absl::StrCat("has dtype ", static_cast<int>(wire.dtype()), ", which is not for numbers"));
  }
  if (!payload.values.empty() && tensor.dtype != DataType::kFloat32) {
    return Malformed(name, absl::StrCat("has values of dtype ", DataTypeName(tensor.dtype)));
  }
  const Fragments& bytes = PresentForm(payload);
  tensor.shape.assign(wire.shape().begin(), wire.shape().end());
  const bool negative = std::any_of(tensor.shape.begin(), tensor.shape.end(), [](int64_t n) { return n < 0; });
  // An absent tensor and a scalar have the same shape.
  const std::optional<int64_t> size = negative                                ? std::nullopt
                                      : tensor.shape.empty() && bytes.empty() ? 0
                                                                              : TensorBytes(tensor.dtype, tensor.shape);
  if (!size.has_value() || static_cast<uint64_t>(*size) != bytes.size()) {
    return Malformed(name, absl::StrCat("has ", bytes.size(), " bytes for shape ", ShapeString(tensor.shape), " of ",
                                        DataTypeName(tensor.dtype)));
  }
  const int64_t count = *size / ElementBytes(tensor.dtype);
  tensor.values.resize(static_cast<size_t>(count));
  if (tensor.dtype == DataType::kFloat32) {
    bytes.CopyTo(reinterpret_cast<std::byte*>(tensor.values.data()));
    return absl::OkStatus();
  }
  std::vector<std::byte> elements(bytes.size());
  bytes.CopyTo(elements.data());
  simd::LoadRow(elements.data(), tensor.dtype, count, tensor.values.data());
  return absl::OkStatus();
}

}  // namespace attnd::codec
