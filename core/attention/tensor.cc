#include "core/attention/tensor.h"

#include <algorithm>
#include <cstring>

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
