// The safetensors file format: named tensors, strings beside them, nothing that runs.
//
//   8 bytes   length of the header, little-endian
//   header    JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {string: string}}
//   the rest  the tensors' elements, little-endian, row-major, without holes
//
// Files are not trusted: every length, offset and product is checked before it is used.
// Errors are kInvalidArgument and name the file and the tensor.
#ifndef ATTND_CORE_LINEAR_SAFETENSORS_H_
#define ATTND_CORE_LINEAR_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/runtime/file.h"

namespace attnd {

// Element types that files hold; more than attention computes with.
enum class StoredType {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kU16,
  kI16,
  kF16,
  kBf16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64
};

// "F32", "BF16", ...: the format's own word.
const char* StoredTypeName(StoredType dtype);

// The type with this name, if there is one.
std::optional<StoredType> StoredTypeFromName(std::string_view name);

// Bytes per element.
size_t StoredTypeSize(StoredType dtype);

// The bytes of `shape` elements of `dtype`; nothing if a dimension is negative or the
// product does not fit.
std::optional<size_t> StoredBytes(StoredType dtype, std::span<const int64_t> shape);

// Text of a file for an error message: in quotes, on one line, cut short if it is long.
std::string QuotedName(std::string_view name);

// A tensor of a file. Does not own the bytes, which need not be aligned.
struct StoredTensor {
  std::string name;
  StoredType dtype = StoredType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

// A file that was read. Copies share the bytes. Thread-compatible.
class Safetensors {
 public:
  // Largest header, in bytes: that of the format's reference implementation.
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;

  // Reads the file at `path`.
  static absl::StatusOr<Safetensors> Read(const std::string& path);

  // Takes `contents` as a file that errors call `name`.
  static absl::StatusOr<Safetensors> Parse(FileContents contents, const std::string& name);

  // In the order of their bytes.
  [[nodiscard]] const std::vector<StoredTensor>& tensors() const { return tensors_; }
  // nullptr if there is none of that name.
  [[nodiscard]] const StoredTensor* Find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Owns the bytes of all tensors.
  [[nodiscard]] std::shared_ptr<const void> owner() const { return contents_; }

 private:
  std::shared_ptr<const FileContents> contents_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes a file that Read understands, with the tensors aligned to their element size.
// Fails, before it touches the file, if two tensors have one name, if a name is
// "__metadata__" or if bytes and shape of a tensor differ; else as WriteFile does.
absl::Status WriteSafetensors(const std::string& path, std::span<const StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_SAFETENSORS_H_
