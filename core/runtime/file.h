// Whole files in and out of memory, with errors that name the file.
#ifndef ATTND_CORE_RUNTIME_FILE_H_
#define ATTND_CORE_RUNTIME_FILE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attnd {

// The contents of a file at the time it was read. Owns the bytes, which do not move when
// the object does. Thread-compatible.
class FileContents {
 public:
  FileContents() = default;
  FileContents(std::unique_ptr<std::byte[]> data, size_t size) : data_(std::move(data)), size_(size) {}

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> data_;
  size_t size_ = 0;
};

// Reads a regular file. Fails with "<path>: <reason>": kNotFound, kPermissionDenied, ... as
// the system says, kInvalidArgument for a directory or device, kResourceExhausted if there
// is no memory for it. Reads instead of mapping, so that a file which shrinks meanwhile is
// an error and not a signal. Thread-safe.
absl::StatusOr<FileContents> ReadFile(const std::string& path);

// Writes `parts` one after the other, replacing what was there. Fails with
// "<path>: <reason>"; the file may then hold a part. Thread-safe for distinct paths.
absl::Status WriteFile(const std::string& path, std::span<const std::span<const std::byte>> parts);

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_FILE_H_
