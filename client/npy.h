// The .npy file format of NumPy: one array per file.
//
// Read: versions 1, 2 and 3; little-endian float16, float32, float64, bool, uint8,
// int32, int64;
// C order. Everything else is refused with a message that says what came and, where NumPy
// can convert it, how. Errors are kInvalidArgument and name the file. Thread-safe.
#ifndef ATTND_CLIENT_NPY_H_
#define ATTND_CLIENT_NPY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/linear/safetensors.h"
#include "core/runtime/file.h"

namespace attnd {

// An array that was read, row-major.
struct NpyArray {
  StoredType dtype = StoredType::kF32;
  std::vector<int64_t> shape;
  // Not necessarily aligned.
  std::span<const std::byte> bytes;
  // Owns the bytes.
  std::shared_ptr<const void> owner;
};

// Reads the file at `path`.
absl::StatusOr<NpyArray> ReadNpy(const std::string& path);

// Takes `contents` as a file that errors call `name`.
absl::StatusOr<NpyArray> ParseNpy(FileContents contents, const std::string& name);

// Writes an array of a type that is also read. Fails as WriteFile does; kInvalidArgument,
// before it touches the file, if the shape does not have so many bytes or NumPy does not
// have the type.
absl::Status WriteNpy(const std::string& path, const StoredTensor& array);
// The same for float32.
absl::Status WriteNpy(const std::string& path, std::span<const int64_t> shape, std::span<const float> values);

}  // namespace attnd

#endif  // ATTND_CLIENT_NPY_H_
