// Aligned memory that is used again instead of being returned and faulted in anew: the
// largest cost of a naive tensor server is page faults, not copies.
#ifndef ATTND_CORE_RUNTIME_BUFFER_POOL_H_
#define ATTND_CORE_RUNTIME_BUFFER_POOL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/runtime/mutex.h"

namespace attnd {

class BufferPool;

// Owns a block of a pool; gives it back when destroyed, on any thread. Movable.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  // 64-byte aligned (2 MiB from 2 MiB on); nullptr if empty. Contents unspecified.
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] float* floats() const { return reinterpret_cast<float*>(data_); }
  // As asked for, in bytes.
  [[nodiscard]] size_t size() const { return size_; }

 private:
  friend class BufferPool;
  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// `size` rounded up to whole cache lines: where the next thing in a block begins aligned.
inline size_t AlignedSize(size_t size) { return (size + 63) / 64 * 64; }

// A pool of blocks in size classes (four per power of two), last in, first out.
// Thread-safe. Must outlive its buffers.
class BufferPool {
 public:
  struct Options {
    // Free bytes kept for the next request; more are returned to the system. Raising it
    // saves page faults when requests vary, and keeps that much memory resident.
    size_t max_free_bytes = size_t{512} << 20;
  };

  explicit BufferPool(const Options& options) : options_(options) {}
  ~BufferPool() { Trim(); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A block of at least `size` bytes (0 gives an empty buffer). Fails with
  // kResourceExhausted when the system has no memory.
  absl::StatusOr<Buffer> Allocate(size_t size) ATTND_EXCLUDES(mutex_);

  // Returns all free blocks to the system.
  void Trim() ATTND_EXCLUDES(mutex_);

  // Bytes in buffers and bytes free in the pool.
  [[nodiscard]] size_t used_bytes() const ATTND_EXCLUDES(mutex_);
  [[nodiscard]] size_t free_bytes() const ATTND_EXCLUDES(mutex_);

 private:
  friend class Buffer;
  void Release(std::byte* data, size_t capacity) ATTND_EXCLUDES(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  // Invariant: free_bytes_ is the sum of capacities in free_ and <= max_free_bytes.
  std::map<size_t, std::vector<std::byte*>> free_ ATTND_GUARDED_BY(mutex_);
  size_t free_bytes_ ATTND_GUARDED_BY(mutex_) = 0;
  size_t used_bytes_ ATTND_GUARDED_BY(mutex_) = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_BUFFER_POOL_H_
