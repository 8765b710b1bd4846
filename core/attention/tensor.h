// Tensors as they arrive: a description and the bytes, possibly in pieces, not owned.
#ifndef ATTND_CORE_ATTENTION_TENSOR_H_
#define ATTND_CORE_ATTENTION_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"

namespace attnd {

// Element types of the wire contract. Little-endian; kBit is least significant bit
// first with rows padded to a byte.
enum class DataType { kFloat32, kFloat16, kBfloat16, kBool, kBit };

// "FLOAT32", "BIT", ...: the word used in messages to users.
const char* DataTypeName(DataType dtype);

// Whether it is one of the types for numbers; the others are for masks.
inline bool IsFloat(DataType dtype) { return dtype != DataType::kBool && dtype != DataType::kBit; }

// Bytes of an element. REQUIRES: not kBit.
int64_t ElementBytes(DataType dtype);

// Product of non-negative factors, or nothing if it passes 2^63 - 1.
std::optional<int64_t> Product(std::span<const int64_t> factors);

// Bytes of a tensor (kBit: rows padded to bytes), or nothing if they pass 2^63 - 1.
// REQUIRES: no extent is negative.
std::optional<int64_t> TensorBytes(DataType dtype, std::span<const int64_t> shape);

// Bytes in consecutive pieces. Does not own them. Thread-compatible.
class Fragments {
 public:
  Fragments() = default;
  explicit Fragments(std::span<const std::byte> bytes) { Append(bytes); }

  // Adds a piece at the end. Empty pieces are dropped.
  void Append(std::span<const std::byte> piece);

  void Clear() {
    pieces_.clear();
    size_ = 0;
  }

  // Total number of bytes.
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::span<const std::span<const std::byte>> pieces() const { return pieces_; }

  // Copies all size() bytes to `destination`.
  void CopyTo(std::byte* destination) const;

 private:
  // Most tensors are in one.
  absl::InlinedVector<std::span<const std::byte>, 1> pieces_;
  size_t size_ = 0;
};

// A tensor that is not owned: shape in elements, outermost dimension first, row-major.
struct TensorView {
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  Fragments bytes;
};

// "[2, 3, 4]".
std::string ShapeString(std::span<const int64_t> shape);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_TENSOR_H_
