#include "core/runtime/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr size_t kKiB = 1024;
constexpr size_t kMiB = size_t{1} << 20;

bool IsAligned(const void* p, size_t alignment) { return reinterpret_cast<uintptr_t>(p) % alignment == 0; }

// A buffer of `size` bytes, or a failed test and an empty one.
Buffer Take(BufferPool& pool, size_t size) {
  absl::StatusOr<Buffer> buffer = pool.Allocate(size);
  EXPECT_THAT(buffer, IsOk());
  return buffer.ok() ? *std::move(buffer) : Buffer();
}

TEST(BufferPoolTest, BlocksAreAlignedAndWritable) {
  BufferPool pool({});
  for (const size_t size : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{4095}, size_t{4097}, size_t{100'000},
                            2 * kMiB - 1, 2 * kMiB, 2 * kMiB + 1, 5 * kMiB + 3}) {
    SCOPED_TRACE(size);
    const Buffer buffer = Take(pool, size);
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_TRUE(IsAligned(buffer.data(), size >= 2 * kMiB ? 2 * kMiB : 64));
    std::memset(buffer.data(), 0x5A, size);
    EXPECT_EQ(static_cast<void*>(buffer.floats()), static_cast<void*>(buffer.data()));
  }
}

TEST(BufferPoolTest, NothingIsAnEmptyBuffer) {
  BufferPool pool({});
  const Buffer buffer = Take(pool, 0);
  EXPECT_EQ(buffer.data(), nullptr);
  EXPECT_EQ(buffer.size(), 0U);
  EXPECT_EQ(pool.used_bytes(), 0U);
}

TEST(BufferPoolTest, TheLastBlockReturnedIsTheFirstUsedAgain) {
  BufferPool pool({});
  std::vector<Buffer> buffers;
  buffers.reserve(3);
  for (int i = 0; i < 3; ++i) buffers.push_back(Take(pool, 10'000));
  const void* first = buffers[0].data();
  const void* last = buffers[2].data();
  buffers.erase(buffers.begin());  // moves the others down; returns `first`
  buffers.pop_back();              // returns `last`
  const Buffer again = Take(pool, 10'000);
  const Buffer then = Take(pool, 10'000);
  EXPECT_EQ(again.data(), last);
  EXPECT_EQ(then.data(), first);
}

TEST(BufferPoolTest, ABlockServesOtherSizesOfItsClass) {
  BufferPool pool({});
  const void* block = Take(pool, 100'000).data();
  EXPECT_EQ(Take(pool, 99'999).data(), block);
}

TEST(BufferPoolTest, NoMoreThanAQuarterIsWasted) {
  BufferPool pool({});
  for (size_t size = 8192; size < 3 * kMiB; size = size * 17 / 16 + 1) {
    const Buffer buffer = Take(pool, size);
    EXPECT_GE(pool.used_bytes(), size);
    EXPECT_LE(pool.used_bytes(), size + size / 4 + 64) << size;
  }
}

TEST(BufferPoolTest, BytesAreCountedAsUsedThenAsFree) {
  BufferPool pool({});
  {
    const Buffer a = Take(pool, 64 * kKiB);
    const Buffer b = Take(pool, 64 * kKiB);
    EXPECT_EQ(pool.used_bytes(), 128 * kKiB);
    EXPECT_EQ(pool.free_bytes(), 0U);
  }
  EXPECT_EQ(pool.used_bytes(), 0U);
  EXPECT_EQ(pool.free_bytes(), 128 * kKiB);
  pool.Trim();
  EXPECT_EQ(pool.free_bytes(), 0U);
}

TEST(BufferPoolTest, FreeBytesStayBelowTheirBound) {
  BufferPool pool({.max_free_bytes = 3 * kMiB});
  {
    std::vector<Buffer> buffers;
    buffers.reserve(8);
    for (int i = 0; i < 8; ++i) buffers.push_back(Take(pool, kMiB));
  }
  EXPECT_EQ(pool.free_bytes(), 3 * kMiB);
  EXPECT_EQ(pool.used_bytes(), 0U);
}

TEST(BufferPoolTest, ABoundOfZeroKeepsNothing) {
  BufferPool pool({.max_free_bytes = 0});
  { const Buffer buffer = Take(pool, kMiB); }
  EXPECT_EQ(pool.free_bytes(), 0U);
}

TEST(BufferPoolTest, MovingABufferKeepsItsBlockOnce) {
  BufferPool pool({});
  Buffer a = Take(pool, 1000);
  const void* block = a.data();
  Buffer b = std::move(a);
  EXPECT_EQ(b.data(), block);
  Buffer c;
  c = std::move(b);
  EXPECT_EQ(c.data(), block);
  EXPECT_EQ(c.size(), 1000U);
  const size_t used = pool.used_bytes();
  c = Buffer();
  EXPECT_EQ(pool.used_bytes(), 0U);
  EXPECT_EQ(pool.free_bytes(), used);
}

TEST(BufferPoolTest, ABufferMayBeReturnedOnAnotherThread) {
  BufferPool pool({});
  Buffer buffer = Take(pool, 5000);
  std::thread([moved = std::move(buffer)] {}).join();
  EXPECT_EQ(pool.used_bytes(), 0U);
  EXPECT_GT(pool.free_bytes(), 0U);
}

TEST(BufferPoolTest, ImpossibleSizesAreRefused) {
  BufferPool pool({});
  constexpr size_t kMax = std::numeric_limits<size_t>::max();
  for (const size_t size : {kMax, kMax - 1, kMax - 4096, kMax / 2 + 1, kMax / 2}) {
    EXPECT_THAT(pool.Allocate(size), IsError(absl::StatusCode::kResourceExhausted, "")) << size;
  }
  EXPECT_EQ(pool.used_bytes(), 0U);
  EXPECT_THAT(pool.Allocate(100), IsOk());
}

TEST(BufferPoolTest, MoreThanTheAddressSpaceIsRefused) {
  if (kSanitized) GTEST_SKIP() << "sanitizers end the process at such a size";
  BufferPool pool({});
  EXPECT_THAT(pool.Allocate(size_t{1} << 50), IsError(absl::StatusCode::kResourceExhausted, ""));
  EXPECT_EQ(pool.used_bytes(), 0U);
}

TEST(BufferPoolTest, ThreadsGetBlocksOfTheirOwn) {
  BufferPool pool({.max_free_bytes = kMiB});
  const auto hammer = [&pool](uint64_t seed) {
    Random random(seed);
    std::vector<std::pair<Buffer, std::byte>> held;
    for (int i = 0; i < 2000; ++i) {
      if (held.size() > 8) {
        const auto at = held.begin() + random.Below(static_cast<int64_t>(held.size()));
        for (const size_t byte : {size_t{0}, at->first.size() / 2, at->first.size() - 1}) {
          ASSERT_EQ(at->first.data()[byte], at->second);
        }
        held.erase(at);
      }
      const auto mark = static_cast<std::byte>(random.Below(256));
      Buffer buffer = Take(pool, static_cast<size_t>(1 + random.Below(20'000)));
      ASSERT_NE(buffer.data(), nullptr);
      std::memset(buffer.data(), std::to_integer<int>(mark), buffer.size());
      held.emplace_back(std::move(buffer), mark);
      if (i % 500 == 0) pool.Trim();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(hammer, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.used_bytes(), 0U);
  EXPECT_LE(pool.free_bytes(), kMiB);
}

}  // namespace
}  // namespace attnd
