// Conversions and row loops in every instruction set this machine has.
#include "core/attention/simd_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/attention/reference.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"

namespace attnd::simd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();

// A 16-bit format, from its definition.
struct Format {
  DataType dtype;
  int fraction_bits;
  int bias;

  [[nodiscard]] uint16_t infinity() const { return static_cast<uint16_t>(0x8000 - (1 << fraction_bits)); }
  // Of a pattern without sign; infinity's gives the number that would come there.
  [[nodiscard]] double Magnitude(int bits) const {
    const int exponent = bits >> fraction_bits;
    const int fraction = bits & ((1 << fraction_bits) - 1);
    const int implied = exponent == 0 ? 0 : 1 << fraction_bits;
    return std::ldexp(implied + fraction, std::max(exponent, 1) - bias - fraction_bits);
  }
  [[nodiscard]] bool IsNan(uint16_t bits) const { return (bits & 0x7FFF) > infinity(); }
};
constexpr Format kFormats[] = {{DataType::kFloat16, 10, 15}, {DataType::kBfloat16, 7, 127}};

std::vector<uint16_t> AllPatterns() {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  return all;
}

std::vector<float> Load(const std::vector<uint16_t>& source, DataType dtype) {
  std::vector<float> floats(source.size());
  LoadRow(reinterpret_cast<const std::byte*>(source.data()), dtype, static_cast<int64_t>(source.size()), floats.data());
  return floats;
}

std::vector<uint16_t> Store(const std::vector<float>& source, DataType dtype) {
  std::vector<uint16_t> halves(source.size());
  StoreRow(source.data(), static_cast<int64_t>(source.size()), dtype, reinterpret_cast<std::byte*>(halves.data()));
  return halves;
}

TEST(SimdRowsTest, AllFiniteRowFindsOneBadElementAnywhere) {
  ForEachTarget([] {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(DataTypeName(format.dtype));
      for (const size_t n : {0U, 1U, 7U, 8U, 33U, 70U}) {
        // The largest numbers.
        std::vector<uint16_t> halves(n, static_cast<uint16_t>(format.infinity() - 1));
        const auto finite = [&] {
          return AllFiniteRow(reinterpret_cast<const std::byte*>(halves.data()), format.dtype, static_cast<int64_t>(n));
        };
        EXPECT_TRUE(finite()) << n;
        for (size_t i = 0; i < n; ++i) {
          const uint16_t good = halves[i];
          for (const int bad : {int{format.infinity()}, format.infinity() + 1, 0xFFFF}) {
            halves[i] = static_cast<uint16_t>(bad);
            EXPECT_FALSE(finite()) << i << " of " << n;
          }
          halves[i] = good;
        }
      }
    }
    const float floats[] = {1, kMax, kInf};
    EXPECT_TRUE(AllFiniteRow(reinterpret_cast<const std::byte*>(floats), DataType::kFloat32, 2));
    EXPECT_FALSE(AllFiniteRow(reinterpret_cast<const std::byte*>(floats), DataType::kFloat32, 3));
  });
}

TEST(SimdRowsTest, EveryPatternIsLoadedExactly) {
  const std::vector<uint16_t> patterns = AllPatterns();
  ForEachTarget([&] {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(DataTypeName(format.dtype));
      const std::vector<float> floats = Load(patterns, format.dtype);
      for (size_t i = 0; i < floats.size(); ++i) {
        const int magnitude = static_cast<int>(i & 0x7FFF);
        if (format.IsNan(patterns[i])) {
          ASSERT_TRUE(std::isnan(floats[i])) << i;
          continue;
        }
        const double expected = magnitude == format.infinity() ? kInf : format.Magnitude(magnitude);
        ASSERT_EQ(std::abs(static_cast<double>(floats[i])), expected) << i;
        ASSERT_EQ(std::signbit(floats[i]), i >= 0x8000) << i;
      }
    }
  });
}

TEST(SimdRowsTest, EveryPatternSurvivesTheRoundTrip) {
  const std::vector<uint16_t> patterns = AllPatterns();
  ForEachTarget([&] {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(DataTypeName(format.dtype));
      const std::vector<uint16_t> back = Store(Load(patterns, format.dtype), format.dtype);
      for (size_t i = 0; i < back.size(); ++i) {
        if (format.IsNan(patterns[i])) {
          ASSERT_TRUE(format.IsNan(back[i])) << i << " became " << back[i];
        } else {
          ASSERT_EQ(back[i], patterns[i]);
        }
      }
    }
  });
}

// Between every two neighbours: the middle goes to the even one, all else to the nearer.
// The largest number's neighbour is infinity, the smallest's 0.
TEST(SimdRowsTest, StoringRoundsToNearestEven) {
  ForEachTarget([] {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(DataTypeName(format.dtype));
      std::vector<float> floats;
      std::vector<uint16_t> expected;
      const auto add = [&](float x, int bits) {
        floats.insert(floats.end(), {x, -x});
        expected.push_back(static_cast<uint16_t>(bits));
        expected.push_back(static_cast<uint16_t>(bits | 0x8000));
      };
      for (int bits = 0; bits < format.infinity(); ++bits) {
        const auto middle = static_cast<float>((format.Magnitude(bits) + format.Magnitude(bits + 1)) / 2);
        add(middle, bits + bits % 2);
        add(std::nextafter(middle, 0.0F), bits);
        add(std::nextafter(middle, kInf), bits + 1);
      }
      const std::vector<uint16_t> stored = Store(floats, format.dtype);
      for (size_t i = 0; i < stored.size(); ++i) ASSERT_EQ(stored[i], expected[i]) << floats[i];
    }
  });
}

TEST(SimdRowsTest, StoringAgreesWithTheOracle) {
  Random random(4);
  std::vector<float> floats(100'000);
  for (float& x : floats) x = std::bit_cast<float>(static_cast<uint32_t>(random.Bits()));
  ForEachTarget([&] {
    for (const Format& format : kFormats) {
      SCOPED_TRACE(DataTypeName(format.dtype));
      const std::vector<float> back = Load(Store(floats, format.dtype), format.dtype);
      for (size_t i = 0; i < floats.size(); ++i) {
        if (std::isnan(floats[i])) {
          ASSERT_TRUE(std::isnan(back[i])) << std::bit_cast<uint32_t>(floats[i]);
        } else {
          ASSERT_EQ(static_cast<double>(back[i]), RoundTo(format.dtype, static_cast<double>(floats[i]))) << floats[i];
        }
      }
    }
  });
}

TEST(SimdRowsTest, WhatDoesNotFitBecomesInfinityAndNanStaysNan) {
  // The last NaN has nothing in the places that 16-bit formats keep.
  const std::vector<float> floats = {kMax, kInf, 1e9F, 65520, kNan, -kNan, std::bit_cast<float>(0x7F800001U)};
  ForEachTarget([&] {
    for (const Format& format : kFormats) {
      const bool half = format.dtype == DataType::kFloat16;
      const std::vector<uint16_t> stored = Store(floats, format.dtype);
      EXPECT_EQ(stored[0], format.infinity());
      EXPECT_EQ(stored[1], format.infinity());
      EXPECT_EQ(stored[2] == format.infinity(), half);
      EXPECT_EQ(stored[3] == format.infinity(), half);
      for (size_t i = 4; i < floats.size(); ++i) EXPECT_TRUE(format.IsNan(stored[i])) << i;
    }
  });
}

TEST(SimdRowsTest, Float32IsCopiedBitForBit) {
  const std::vector<float> floats = {1, -0.0F, kInf, std::bit_cast<float>(0x7F800001U), 0x1p-149F};
  ForEachTarget([&] {
    std::vector<float> copy(floats.size());
    LoadRow(reinterpret_cast<const std::byte*>(floats.data()), DataType::kFloat32, 5, copy.data());
    EXPECT_EQ(std::memcmp(copy.data(), floats.data(), 20), 0);
    std::fill(copy.begin(), copy.end(), 0.0F);
    StoreRow(floats.data(), 5, DataType::kFloat32, reinterpret_cast<std::byte*>(copy.data()));
    EXPECT_EQ(std::memcmp(copy.data(), floats.data(), 20), 0);
  });
}

// Every length at every misalignment of both sides; nothing beside the row is written.
TEST(SimdRowsTest, LengthsAndMisalignmentsDoNotMatter) {
  constexpr size_t kRoom = 96;
  ForEachTarget([] {
    for (const DataType dtype : {DataType::kFloat16, DataType::kBfloat16, DataType::kFloat32}) {
      const auto element = static_cast<size_t>(ElementBytes(dtype));
      for (size_t n = 0; n <= 70; ++n) {
        for (const size_t misalign : {0, 1, 2, 7}) {
          std::vector<float> floats(kRoom, -1);
          for (size_t i = 0; i < n; ++i) floats[misalign + i] = static_cast<float>(i) * 0.5F;
          // Bytes need no alignment, not even that of their elements.
          std::vector<std::byte> bytes(kRoom * element + misalign, std::byte{0xAB});
          StoreRow(floats.data() + misalign, static_cast<int64_t>(n), dtype, bytes.data() + misalign);
          for (size_t i = 0; i < bytes.size(); ++i) {
            const bool inside = i >= misalign && i < misalign + n * element;
            if (!inside) {
              ASSERT_EQ(bytes[i], std::byte{0xAB}) << n << " " << misalign;
            }
          }
          std::vector<float> back(kRoom, -2);
          LoadRow(bytes.data() + misalign, dtype, static_cast<int64_t>(n), back.data() + misalign);
          for (size_t i = 0; i < kRoom; ++i) {
            const bool inside = i >= misalign && i < misalign + n;
            ASSERT_EQ(back[i], inside ? static_cast<float>(i - misalign) * 0.5F : -2) << n << " " << misalign;
          }
        }
      }
    }
  });
}

TEST(SimdRowsTest, CapRowFollowsItsFormula) {
  ForEachTarget([] {
    for (const float cap : {1e-3F, 1.0F, 30.0F, 1e6F, 1e30F}) {
      for (const size_t n : {0, 1, 7, 8, 15, 16, 17, 70}) {
        std::vector<float> row(n + 1, 7);
        for (size_t i = 0; i < n; ++i) {
          row[i] = cap * std::ldexp(i % 2 == 0 ? 1.1F : -1.3F, static_cast<int>(i % 20) - 14);
        }
        std::vector<float> capped = row;
        CapRow(capped.data(), static_cast<int64_t>(n), cap);
        for (size_t i = 0; i < n; ++i) {
          const double exact = cap * std::tanh(static_cast<double>(row[i]) / cap);
          ASSERT_NEAR(capped[i], exact, std::abs(exact) * 0x1p-20) << row[i] << " capped at " << cap;
          ASSERT_LE(std::abs(capped[i]), cap);
        }
        ASSERT_EQ(capped[n], 7);
      }
    }
  });
}

TEST(SimdRowsTest, CapRowKeepsNanAndBringsInfinityToTheCap) {
  ForEachTarget([] {
    for (size_t at = 0; at < 21; ++at) {
      for (const float cap : {1e-40F, 0.5F, 50.0F, kMax}) {
        std::vector<float> row(21, 0);
        for (const float special : {kNan, kInf, -kInf, kMax, -kMax, 0.0F}) {
          row[at] = special;
          std::vector<float> capped = row;
          CapRow(capped.data(), 21, cap);
          if (std::isnan(special)) {
            ASSERT_TRUE(std::isnan(capped[at]));
          } else if (std::isinf(special)) {
            ASSERT_EQ(capped[at], std::copysign(cap, special));
          } else if (special == 0) {
            ASSERT_EQ(capped[at], 0);
          } else {
            ASSERT_NEAR(capped[at], cap * std::tanh(static_cast<double>(special) / cap), cap * 0x1p-20);
          }
          for (size_t i = 0; i < 21; ++i) {
            if (i != at) {
              ASSERT_EQ(capped[i], 0);
            }
          }
        }
      }
    }
  });
}

TEST(SimdRowsTest, AddRowAddsEveryElementAndNoOther) {
  ForEachTarget([] {
    for (size_t n = 0; n <= 70; ++n) {
      for (const size_t misalign : {0, 1, 5}) {
        std::vector<float> addend(misalign + n + 1, 0.25F);
        std::vector<float> row(misalign + n + 1, 7);
        for (size_t i = 0; i < n; ++i) addend[misalign + i] = static_cast<float>(i);
        AddRow(addend.data() + misalign, static_cast<int64_t>(n), row.data() + misalign);
        for (size_t i = 0; i < row.size(); ++i) {
          const bool inside = i >= misalign && i < misalign + n;
          ASSERT_EQ(row[i], inside ? 7 + static_cast<float>(i - misalign) : 7);
        }
      }
    }
  });
}

TEST(SimdRowsTest, AddScaledRowAddsMultiplesAndNothingElsewhere) {
  ForEachTarget([] {
    for (size_t n = 0; n <= 70; ++n) {
      for (const size_t misalign : {0, 1, 5}) {
        std::vector<float> addend(misalign + n + 1, kNan);
        std::vector<float> row(misalign + n + 1, 7);
        for (size_t i = 0; i < n; ++i) addend[misalign + i] = static_cast<float>(i);
        AddScaledRow(addend.data() + misalign, static_cast<int64_t>(n), -0.25F, row.data() + misalign);
        for (size_t i = 0; i < row.size(); ++i) {
          const bool inside = i >= misalign && i < misalign + n;
          ASSERT_EQ(row[i], inside ? 7 - 0.25F * static_cast<float>(i - misalign) : 7);
        }
      }
    }
  });
}

// Distances of any size, up to those between the farthest positions.
TEST(SimdRowsTest, AddAlibiRowFollowsItsFormula) {
  constexpr int64_t kExact = int64_t{1} << 23;
  constexpr int64_t kFar = int64_t{1} << 61;
  ForEachTarget([] {
    for (const int64_t distance : {int64_t{0}, int64_t{1}, int64_t{33}, int64_t{-5}, int64_t{100'000}, kExact - 1,
                                   kExact, kExact + 1, -kExact, -kExact - 1, kFar, -kFar}) {
      for (const float slope : {0.5F, -0.0625F, 0.3F, 0.0F}) {
        for (size_t n = 0; n <= 70; ++n) {
          std::vector<float> row(n + 2);
          for (size_t k = 0; k < row.size(); ++k) row[k] = static_cast<float>(k) * 0.25F;
          const std::vector<float> before = row;
          AddAlibiRow(slope, distance, static_cast<int64_t>(n), row.data() + 1);
          ASSERT_EQ(row[0], before[0]);
          ASSERT_EQ(row[n + 1], before[n + 1]);
          for (size_t k = 0; k < n; ++k) {
            const auto apart = static_cast<double>(std::abs(distance - static_cast<int64_t>(k)));
            const double exact = before[k + 1] - static_cast<double>(slope) * apart;
            const double rounding = 0x1p-23 * (std::abs(before[k + 1]) + std::abs(slope) * apart);
            ASSERT_NEAR(row[k + 1], exact, rounding) << "key " << k << " of " << n << " at " << distance;
          }
        }
      }
    }
  });
}

TEST(SimdRowsTest, AddAlibiRowCountsKeysOfLongRows) {
  constexpr size_t kKeys = 5000;
  ForEachTarget([] {
    std::vector<float> row(kKeys, 0);
    AddAlibiRow(1, 1234, kKeys, row.data());
    for (size_t k = 0; k < kKeys; ++k) ASSERT_EQ(row[k], -std::abs(1234 - static_cast<float>(k)));
  });
}

}  // namespace
}  // namespace attnd::simd
