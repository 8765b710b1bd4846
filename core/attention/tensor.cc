#include "core/attention/tensor.h"

#include <algorithm>
#include <cstring>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace attnd {

const char* DataTypeName(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return "FLOAT32";
    case DataType::kFloat16:
      return "FLOAT16";
    case DataType::kBfloat16:
      return "BFLOAT16";
    case DataType::kBool:
      return "BOOL";
    case DataType::kBit:
      return "BIT";
  }
  return "?";
}

int64_t ElementBytes(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return 4;
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return 2;
    case DataType::kBool:
    case DataType::kBit:
      break;
  }
  return 1;
}

std::optional<int64_t> Product(std::span<const int64_t> factors) {
  int64_t product = 1;
  bool overflow = false;
  for (const int64_t factor : factors) {
    // A 0 makes the product 0 even if the rest would overflow.
    if (factor == 0) return 0;
    overflow = overflow || __builtin_mul_overflow(product, factor, &product);
  }
  return overflow ? std::nullopt : std::optional<int64_t>(product);
}

std::optional<int64_t> TensorBytes(DataType dtype, std::span<const int64_t> shape) {
  absl::InlinedVector<int64_t, 8> factors(shape.begin(), shape.end());
  if (dtype != DataType::kBit) {
    factors.push_back(ElementBytes(dtype));
  } else if (!factors.empty()) {
    factors.back() = factors.back() / 8 + (factors.back() % 8 != 0 ? 1 : 0);
  }
  return Product(factors);
}

void Fragments::Append(std::span<const std::byte> piece) {
  if (piece.empty()) return;
  pieces_.push_back(piece);
  size_ += piece.size();
}

void Fragments::CopyTo(std::byte* destination) const {
  for (const auto piece : pieces_) {
    std::memcpy(destination, piece.data(), piece.size());
    destination += piece.size();
  }
}

std::string ShapeString(std::span<const int64_t> shape) {
  // A hostile shape has millions of extents; no message needs them.
  constexpr size_t kMostExtents = 8;
  const auto shown = shape.first(std::min(shape.size(), kMostExtents));
  return absl::StrCat("[", absl::StrJoin(shown.begin(), shown.end(), ", "),
                      shape.size() > kMostExtents ? absl::StrCat(", ... ", shape.size(), " extents]") : "]");
}

}  // namespace attnd
