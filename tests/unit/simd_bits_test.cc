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

// What must not change before, between and behind rows of bits.
constexpr int64_t kBetween = 3;
constexpr int64_t kRows = 3;

// Lengths around those of vectors and bytes.
std::vector<int64_t> Lengths() {
  std::vector<int64_t> lengths;
  for (int64_t n = 0; n <= 70; ++n) lengths.push_back(n);
  lengths.insert(lengths.end(), {127, 128, 129, 200, 511, 512});
  return lengths;
}

// Applies `keep` to random bits of `rows` rows and checks that key k of row r loses its bit
// exactly if not kept(r, k).
void ExpectKeeps(int64_t rows, int64_t n, Random& random, const std::function<void(const BitRows& bits)>& keep,
                 const std::function<bool(int64_t r, int64_t k)>& kept) {
  const int64_t stride = (n + 7) / 8 + kBetween;
  std::vector<uint8_t> bits(static_cast<size_t>(rows * stride));
  for (uint8_t& byte : bits) byte = static_cast<uint8_t>(random.Bits() | random.Bits());
  const std::vector<uint8_t> before = bits;
  keep({bits.data(), stride, rows});
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < stride * 8; ++k) {
      const auto at = static_cast<size_t>(r * stride + k / 8);
      const bool stays = k >= n || kept(r, k);
      ASSERT_EQ(bits[at] >> (k % 8) & 1, stays ? before[at] >> (k % 8) & 1 : 0)
          << "row " << r << " key " << k << " of " << n;
    }
  }
}

// Rows of `n` elements that lie `misalign` bytes behind where they are said to be.
struct Elements {
  Elements(int64_t bytes, int64_t misalign) : offset(misalign) {
    for (auto& row : memory) row.resize(static_cast<size_t>(bytes + misalign));
    for (auto& row : memory) rows.push_back(row.data());
  }

  [[nodiscard]] ElementRows At() const { return {rows.data(), offset}; }
  [[nodiscard]] std::byte& Byte(int64_t r, int64_t i) {
    return memory[static_cast<size_t>(r)][static_cast<size_t>(offset + i)];
  }

  int64_t offset;
  std::vector<std::byte> memory[kRows];
  std::vector<const std::byte*> rows;
};

TEST(SimdBitsTest, KeepByBoolTakesAnyByteButZeroForTrue) {
  ForEachTarget([] {
    Random random(1);
    for (const int64_t n : Lengths()) {
      for (const int64_t misalign : {0, 1, 3}) {
        Elements mask(n, misalign);
        for (int64_t i = 0; i < kRows * n; ++i) {
          mask.Byte(i / n, i % n) = random.Below(2) == 0 ? std::byte{0} : static_cast<std::byte>(random.Bits());
        }
        for (const bool keep : {false, true}) {
          ExpectKeeps(
              kRows, n, random, [&](const BitRows& bits) { KeepByBool(mask.At(), n, keep, bits); },
              [&](int64_t r, int64_t k) { return (mask.Byte(r, k) != std::byte{0}) == keep; });
        }
      }
    }
  });
}

TEST(SimdBitsTest, KeepByBitReadsTheLeastSignificantFirst) {
  Random random(2);
  for (const int64_t n : Lengths()) {
    for (const int64_t misalign : {0, 1, 3}) {
      const int64_t bytes = (n + 7) / 8;
      Elements mask(bytes, misalign);
      for (int64_t i = 0; i < kRows * bytes; ++i) {
        mask.Byte(i / bytes, i % bytes) = static_cast<std::byte>(random.Bits());
      }
      for (const bool keep : {false, true}) {
        ExpectKeeps(
            kRows, n, random, [&](const BitRows& bits) { KeepByBit(mask.At(), n, keep, bits); },
            [&](int64_t r, int64_t k) { return (static_cast<int>(mask.Byte(r, k / 8)) >> (k % 8) & 1) == keep; });
      }
    }
  }
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
            1, n, random, [&](const BitRows& bits) { KeepEqual(ids.data(), n, id, bits.bits); },
            [&](int64_t, int64_t k) { return ids[static_cast<size_t>(k)] == id; });
      }
    }
  });
}

template <typename T>
void ExpectKeepsAboveMinusInfinity(DataType dtype, const std::vector<T>& some, T minus_infinity) {
  SCOPED_TRACE(DataTypeName(dtype));
  Random random(4);
  for (const int64_t n : Lengths()) {
    std::vector<T> bias[kRows];
    std::vector<const std::byte*> rows;
    for (auto& row : bias) {
      for (int64_t k = 0; k < n + 1; ++k) {
        row.push_back(some[static_cast<size_t>(random.Below(static_cast<int64_t>(some.size())))]);
      }
      rows.push_back(reinterpret_cast<const std::byte*>(row.data()));
    }
    ExpectKeeps(
        kRows, n, random,
        [&](const BitRows& bits) {
          KeepAboveMinusInfinity({rows.data(), sizeof(T)}, dtype, n, bits);
        },
        [&](int64_t r, int64_t k) { return bias[r][static_cast<size_t>(k) + 1] != minus_infinity; });
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
      std::vector<uint8_t> bits(static_cast<size_t>(bytes) + 8, 0xFF);
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
