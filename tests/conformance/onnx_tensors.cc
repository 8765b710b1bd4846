#include "tests/conformance/onnx_tensors.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

// Elements of dimensions [from, to).
int64_t Extent(const OwnedTensor& tensor, size_t from, size_t to) {
  int64_t extent = 1;
  for (size_t i = from; i < to; ++i) extent *= tensor.shape.at(i);
  return extent;
}

auto At(const std::vector<std::byte>& bytes, int64_t offset) { return bytes.begin() + offset; }

}  // namespace

absl::StatusOr<OwnedTensor> ToOwned(const StoredTensor& tensor) {
  OwnedTensor owned{DataType::kFloat32, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}};
  switch (tensor.dtype) {
    case StoredType::kF32:
      return owned;
    case StoredType::kF16:
      owned.dtype = DataType::kFloat16;
      return owned;
    case StoredType::kBf16:
      owned.dtype = DataType::kBfloat16;
      return owned;
    case StoredType::kBool:
      owned.dtype = DataType::kBool;
      return owned;
    default:
      return absl::UnimplementedError(absl::StrCat(tensor.name, " is ", StoredTypeName(tensor.dtype)));
  }
}

std::vector<double> NumbersOf(const OwnedTensor& tensor) {
  std::vector<float> floats(tensor.bytes.size() / static_cast<size_t>(ElementBytes(tensor.dtype)));
  simd::LoadRow(tensor.bytes.data(), tensor.dtype, static_cast<int64_t>(floats.size()), floats.data());
  return {floats.begin(), floats.end()};
}

OwnedTensor SwapMiddle(const OwnedTensor& tensor) {
  const auto& s = tensor.shape;
  OwnedTensor swapped{tensor.dtype, {s.at(0), s.at(2), s.at(1), s.at(3)}, {}};
  const int64_t row = s.at(3) * ElementBytes(tensor.dtype);
  for (int64_t a = 0; a < s.at(0); ++a) {
    for (int64_t c = 0; c < s.at(2); ++c) {
      for (int64_t b = 0; b < s.at(1); ++b) {
        const int64_t from = ((a * s.at(1) + b) * s.at(2) + c) * row;
        swapped.bytes.insert(swapped.bytes.end(), At(tensor.bytes, from), At(tensor.bytes, from + row));
      }
    }
  }
  return swapped;
}

absl::StatusOr<OwnedTensor> Join(const OwnedTensor& first, const OwnedTensor& second) {
  const auto& f = first.shape;
  const auto& s = second.shape;
  if (f.size() != 4 || s.size() != 4 || f[0] != s[0] || f[1] != s[1] || f[3] != s[3] || first.dtype != second.dtype) {
    return absl::InvalidArgumentError(absl::StrCat(ShapeString(f), " and ", ShapeString(s), " do not join"));
  }
  OwnedTensor joined{first.dtype, {f[0], f[1], f[2] + s[2], f[3]}, {}};
  for (int64_t i = 0; i < f[0] * f[1]; ++i) {
    for (const OwnedTensor* part : {&first, &second}) {
      const int64_t block = Extent(*part, 2, 4) * ElementBytes(part->dtype);
      joined.bytes.insert(joined.bytes.end(), At(part->bytes, i * block), At(part->bytes, (i + 1) * block));
    }
  }
  return joined;
}

OwnedTensor FillUp(const OwnedTensor& tensor, int64_t length) {
  const int64_t element = ElementBytes(tensor.dtype);
  std::vector<std::byte> filler(static_cast<size_t>(element), std::byte{0});
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  if (tensor.dtype != DataType::kBool) simd::StoreRow(&kHidden, 1, tensor.dtype, filler.data());

  OwnedTensor filled{tensor.dtype, tensor.shape, {}};
  const int64_t old_length = tensor.shape.back();
  filled.shape.back() = length;
  for (int64_t i = 0; i < Extent(tensor, 0, tensor.shape.size() - 1); ++i) {
    const int64_t from = i * old_length * element;
    filled.bytes.insert(filled.bytes.end(), At(tensor.bytes, from), At(tensor.bytes, from + old_length * element));
    for (int64_t j = old_length; j < length; ++j) {
      filled.bytes.insert(filled.bytes.end(), filler.begin(), filler.end());
    }
  }
  return filled;
}

}  // namespace attnd
