#include "core/runtime/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

// Closes its descriptor unless Close was called.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  int Close() { return close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

// The system's code and words for errno: "<path>: No such file or directory".
absl::Status SystemError(const std::string& path) { return absl::ErrnoToStatus(errno, path); }

}  // namespace

absl::StatusOr<FileContents> ReadFile(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd() < 0) return SystemError(path);
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) return SystemError(path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));

  const auto size = static_cast<size_t>(info.st_size);
  std::unique_ptr<std::byte[]> data(new (std::nothrow) std::byte[size]);
  if (data == nullptr) return absl::ResourceExhaustedError(absl::StrCat(path, ": no memory for its ", size, " bytes"));
  for (size_t done = 0; done < size;) {
    const ssize_t n = read(file.fd(), data.get() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path);
    if (n == 0) return absl::DataLossError(absl::StrCat(path, ": became shorter while it was read"));
    done += static_cast<size_t>(n);
  }
  return FileContents(std::move(data), size);
}

absl::Status WriteFile(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.fd() < 0) return SystemError(path);
  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      const ssize_t n = write(file.fd(), part.data(), part.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return SystemError(path);
      part = part.subspan(static_cast<size_t>(n));
    }
  }
  if (file.Close() != 0) return SystemError(path);
  return absl::OkStatus();
}

}  // namespace attnd
