// Rows of visibility in every instruction set this machine has.
#include "core/attention/simd_bits.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/simd_targets.h"

namespace attnd::simd {
namespace {

// Rows of bits can be read this far beyond their end.
constexpr size_t kReadBeyond = 8;

// Lengths around those of vectors and bytes.
std::vector<int64_t> Lengths() {
  std::vector<int64_t> lengths;
  for (int64_t n = 0; n <= 70; ++n) lengths.push_back(n);
  lengths.insert(lengths.end(), {127, 128, 129, 200, 511, 512});
  return lengths;
}

// Applies `keep` to random bits and checks that key k loses its bit exactly if not kept(k).
void ExpectKeeps(int64_t n, Random& random, const std::function<void(uint8_t* bits)>& keep,
                 const std::function<bool(int64_t k)>& kept) {
  std::vector<uint8_t> bits(static_cast<size_t>(n + 7) / 8 + kReadBeyond);
  for (uint8_t& byte : bits) byte = static_cast<uint8_t>(random.Bits() | random.Bits());
  const std::vector<uint8_t> before = bits;
  keep(bits.data());
  for (int64_t k = 0; k < static_cast<int64_t>(bits.size()) * 8; ++k) {
    const auto bit = [k](const std::vector<uint8_t>& row) { return row[static_cast<size_t>(k) / 8] >> (k % 8) & 1; };
    const bool stays = k >= n || kept(k);
    ASSERT_EQ(bit(bits), stays ? bit(before) : 0) << "key " << k << " of " << n;
  }
}

TEST(SimdBitsTest, KeepByBoolTakesAnyByteButZeroForTrue) {
  ForEachTarget([] {
    Random random(1);
    for (const int64_t n : Lengths()) {
      for (const size_t misalign : {0, 1, 3}) {
        std::vector<std::byte> mask(misalign + static_cast<size_t>(n));
        for (std::byte& b : mask) b = random.Below(2) == 0 ? std::byte{0} : static_cast<std::byte>(random.Bits());
        const std::byte* row = mask.data() + misalign;
        for (const bool keep : {false, true}) {
          ExpectKeeps(
              n, random, [&](uint8_t* bits) { KeepByBool(row, n, keep, bits); },
              [&](int64_t k) { return (row[k] != std::byte{0}) == keep; });
        }
      }
    }
  });
}

TEST(SimdBitsTest, KeepByBitReadsTheLeastSignificantFirst) {
  ForEachTarget([] {
    Random random(2);
    for (const int64_t n : Lengths()) {
      std::vector<std::byte> mask(static_cast<size_t>(n + 7) / 8);
      for (std::byte& b : mask) b = static_cast<std::byte>(random.Bits());
      for (const bool keep : {false, true}) {
        ExpectKeeps(
            n, random, [&](uint8_t* bits) { KeepByBit(mask.data(), n, keep, bits); },
            [&](int64_t k) { return (static_cast<int>(mask[static_cast<size_t>(k) / 8]) >> (k % 8) & 1) == keep; });
      }
    }
  });
}

TEST(SimdBitsTest, KeepEqualComparesWholeIds) {
  constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();
  // Ids that agree in a part of their bits.
  const std::vector<int32_t> some = {0, 1, -1, 256, 65536, 1 << 24, kLowest, kLowest + 1};
  ForEachTarget([&] {
    Random random(3);
    for (const int64_t n : Lengths()) {
      std::vector<int32_t> ids(static_cast<size_t>(n));
      for (int32_t& id : ids) id = some[static_cast<size_t>(random.Below(static_cast<int64_t>(some.size())))];
      for (const int32_t id : some) {
        ExpectKeeps(
            n, random, [&](uint8_t* bits) { KeepEqual(ids.data(), n, id, bits); },
            [&](int64_t k) { return ids[static_cast<size_t>(k)] == id; });
      }
    }
  });
}

template <typename T>
void ExpectKeepsAboveMinusInfinity(DataType dtype, const std::vector<T>& some, T minus_infinity) {
  SCOPED_TRACE(DataTypeName(dtype));
  Random random(4);
  for (const int64_t n : Lengths()) {
    std::vector<T> bias(static_cast<size_t>(n));
    for (T& b : bias) b = some[static_cast<size_t>(random.Below(static_cast<int64_t>(some.size())))];
    ExpectKeeps(
        n, random,
        [&](uint8_t* bits) { KeepAboveMinusInfinity(reinterpret_cast<const std::byte*>(bias.data()), dtype, n, bits); },
        [&](int64_t k) { return bias[static_cast<size_t>(k)] != minus_infinity; });
  }
}

// Nothing else hides a key: not the most negative number, nor +inf, nor NaN of either sign.
TEST(SimdBitsTest, OnlyMinusInfinityHidesByBias) {
  ForEachTarget([] {
    ExpectKeepsAboveMinusInfinity<uint32_t>(
        DataType::kFloat32, {0xFF800000, 0xFF7FFFFF, 0xFF800001, 0x7F800000, 0x7FC00000, 0xFFC00000, 0, 0x80000000},
        0xFF800000);
    ExpectKeepsAboveMinusInfinity<uint16_t>(
        DataType::kFloat16, {0xFC00, 0xFBFF, 0xFC01, 0x7C00, 0x7E00, 0xFE00, 0, 0x8000, 0xFF80}, 0xFC00);
    ExpectKeepsAboveMinusInfinity<uint16_t>(
        DataType::kBfloat16, {0xFF80, 0xFF7F, 0xFF81, 0x7F80, 0x7FC0, 0xFFC0, 0, 0x8000, 0xFC00}, 0xFF80);
  });
}

TEST(SimdBitsTest, BitsAreCounted) {
  ForEachTarget([] {
    Random random(6);
    for (int64_t bytes = 0; bytes <= 320; bytes += 8) {
      std::vector<uint8_t> bits(static_cast<size_t>(bytes) + kReadBeyond, 0xFF);
      int64_t expected = 0;
      for (int64_t i = 0; i < bytes; ++i) {
        bits[static_cast<size_t>(i)] = static_cast<uint8_t>(random.Bits());
        expected += std::popcount(bits[static_cast<size_t>(i)]);
      }
      EXPECT_EQ(CountBits(bits.data(), bytes), expected) << bytes;
    }
  });
}

}  // namespace
}  // namespace attnd::simd
