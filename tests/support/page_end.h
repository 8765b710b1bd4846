// Memory that ends where reading ends the process.
#ifndef ATTND_TESTS_SUPPORT_PAGE_END_H_
#define ATTND_TESTS_SUPPORT_PAGE_END_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>

namespace attnd {

// A copy of floats whose last one lies before a page that cannot be read.
class PageEndFloats {
 public:
  explicit PageEndFloats(std::span<const float> floats) : size_(floats.size_bytes()) {
    const size_t pages = (size_ + kPage - 1) / kPage * kPage;
    mapped_ = pages + kPage;
    void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    base_ = static_cast<std::byte*>(memory);
    end_ = base_ + pages;
    if (mprotect(end_, kPage, PROT_NONE) != 0) std::abort();
    if (size_ > 0) std::memcpy(end_ - size_, floats.data(), size_);
  }
  ~PageEndFloats() { munmap(base_, mapped_); }
  PageEndFloats(const PageEndFloats&) = delete;
  PageEndFloats& operator=(const PageEndFloats&) = delete;

  [[nodiscard]] float* data() const { return reinterpret_cast<float*>(end_ - size_); }
  // REQUIRES: there are that many.
  [[nodiscard]] std::span<const std::byte> last_bytes(size_t n) const { return {end_ - n, n}; }

 private:
  // At least the system's.
  static constexpr size_t kPage = size_t{64} << 10;

  size_t size_;
  size_t mapped_ = 0;
  std::byte* base_ = nullptr;
  std::byte* end_ = nullptr;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_PAGE_END_H_
