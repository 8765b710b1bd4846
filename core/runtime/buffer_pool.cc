#include "core/runtime/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

constexpr size_t kSmallAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSmallestClass = 4096;

// The next of four classes per power of two: at most a quarter more than asked for.
size_t ClassOf(size_t size) {
  if (size <= kSmallestClass) return kSmallestClass;
  const size_t step = std::bit_ceil(size) / 8;
  return (size + step - 1) / step * step;
}

std::byte* SystemAllocate(size_t capacity) {
  const bool huge = capacity >= kHugePage;
  void* memory = std::aligned_alloc(huge ? kHugePage : kSmallAlignment,
                                    huge ? (capacity + kHugePage - 1) / kHugePage * kHugePage : capacity);
  // Advice only: without huge pages everything works, slower at first touch.
  if (memory != nullptr && huge) (void)madvise(memory, capacity, MADV_HUGEPAGE);
  return static_cast<std::byte*>(memory);
}

}  // namespace

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->Release(data_, capacity_);
}

absl::StatusOr<Buffer> BufferPool::Allocate(size_t size) {
  Buffer buffer;
  if (size == 0) return buffer;
  if (size > std::numeric_limits<size_t>::max() / 4) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", size, " bytes"));
  }
  const size_t capacity = ClassOf(size);
  std::byte* data = nullptr;
  {
    const MutexLock lock(mutex_);
    used_bytes_ += capacity;
    auto& blocks = free_[capacity];
    if (!blocks.empty()) {
      data = blocks.back();
      blocks.pop_back();
      free_bytes_ -= capacity;
    }
  }
  if (data == nullptr) data = SystemAllocate(capacity);
  if (data == nullptr) {
    const MutexLock lock(mutex_);
    used_bytes_ -= capacity;
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", size, " bytes"));
  }
  buffer.pool_ = this;
  buffer.data_ = data;
  buffer.size_ = size;
  buffer.capacity_ = capacity;
  return buffer;
}

void BufferPool::Release(std::byte* data, size_t capacity) {
  {
    const MutexLock lock(mutex_);
    used_bytes_ -= capacity;
    if (free_bytes_ + capacity <= options_.max_free_bytes) {
      free_[capacity].push_back(data);
      free_bytes_ += capacity;
      return;
    }
  }
  std::free(data);
}

void BufferPool::Trim() {
  std::map<size_t, std::vector<std::byte*>> blocks;
  {
    const MutexLock lock(mutex_);
    blocks.swap(free_);
    free_bytes_ = 0;
  }
  for (const auto& [capacity, list] : blocks) {
    for (std::byte* data : list) std::free(data);
  }
}

size_t BufferPool::used_bytes() const {
  const MutexLock lock(mutex_);
  return used_bytes_;
}

size_t BufferPool::free_bytes() const {
  const MutexLock lock(mutex_);
  return free_bytes_;
}

}  // namespace attnd
