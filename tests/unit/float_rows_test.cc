#include "core/attention/float_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int64_t kDim = 5;
constexpr int64_t kStride = 7;
constexpr int64_t kTokens = 40;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Small whole numbers, which every type holds.
float ElementAt(int64_t token, int64_t i) { return static_cast<float>(token * 3 + i); }

// kTokens tokens of one head among others: what lies between them is not theirs.
class Tokens {
 public:
  explicit Tokens(DataType dtype)
      : dtype_(dtype), floats_(kTokens * kStride, kNan), halves_(kTokens * kStride, 0xFFFF) {
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < kDim; ++i) Set(t, i, ElementAt(t, i));
    }
  }

  void Set(int64_t token, int64_t i, float x) {
    const auto at = static_cast<size_t>(token * kStride + i);
    floats_[at] = x;
    if (dtype_ != DataType::kFloat32) simd::StoreRow(&x, 1, dtype_, reinterpret_cast<std::byte*>(&halves_[at]));
  }
  [[nodiscard]] const float* floats() const { return floats_.data(); }
  [[nodiscard]] TokenRows rows() const {
    const void* base = dtype_ == DataType::kFloat32 ? static_cast<const void*>(floats_.data()) : halves_.data();
    return {static_cast<const std::byte*>(base), dtype_, kStride, kDim, kTokens};
  }

 private:
  DataType dtype_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

void ExpectRows(const FloatRows& rows, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t i = 0; i < kDim; ++i) ASSERT_EQ(rows.row(t - begin)[i], ElementAt(t, i)) << t;
  }
}

// Memory of exactly the tokens: reading beyond it is for sanitizers to see.
TEST(FloatRowsTest, NothingIsReadBehindTheLastToken) {
  FloatRowsLoader loader;
  for (const int64_t stride : {7, 16, 32}) {
    for (int64_t dim = 1; dim <= stride; ++dim) {
      std::vector<uint16_t> halves(static_cast<size_t>(2 * stride + dim));
      for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(0x3F80 + i);
      const TokenRows tokens{reinterpret_cast<const std::byte*>(halves.data()), DataType::kBfloat16, stride, dim, 3};
      const auto rows = loader.Load(tokens, 1, 3, 1, /*finite=*/false);
      ASSERT_THAT(rows, IsOk());
      for (int64_t t = 1; t < 3; ++t) {
        for (int64_t i = 0; i < dim; ++i) {
          const uint32_t bits = uint32_t{halves[static_cast<size_t>(t * stride + i)]} << 16;
          ASSERT_EQ(rows->row(t - 1)[i], std::bit_cast<float>(bits)) << stride << " " << dim;
        }
      }
    }
  }
}

TEST(FloatRowsTest, EveryTypeAndRangeIsLoaded) {
  FloatRowsLoader loader;
  for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    SCOPED_TRACE(DataTypeName(dtype));
    const Tokens tokens(dtype);
    for (int64_t begin = 0; begin <= kTokens; ++begin) {
      for (int64_t end = begin; end <= kTokens; ++end) {
        for (const bool finite : {false, true}) {
          const auto rows = loader.Load(tokens.rows(), begin, end, 16, finite);
          ASSERT_THAT(rows, IsOk());
          ExpectRows(*rows, begin, end);
        }
      }
    }
  }
}

TEST(FloatRowsTest, RowsAddedUpToTheMultipleAreFiniteAndReadable) {
  FloatRowsLoader loader;
  for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    const Tokens tokens(dtype);
    const auto rows = loader.Load(tokens.rows(), 30, 37, 16, /*finite=*/true);
    ASSERT_THAT(rows, IsOk());
    for (int64_t r = 7; r < 16; ++r) {
      for (int64_t i = 0; i < kDim; ++i) EXPECT_TRUE(std::isfinite(rows->row(r)[i]));
    }
  }
}

TEST(FloatRowsTest, Float32IsUsedInPlace) {
  FloatRowsLoader loader;
  const Tokens tokens(DataType::kFloat32);
  // A whole number of vectors, and some more where tokens follow.
  for (const int64_t end : {16, 13, 32, 39}) {
    const auto rows = loader.Load(tokens.rows(), 0, end, end == 39 ? 1 : 16, /*finite=*/true);
    ASSERT_THAT(rows, IsOk());
    EXPECT_EQ(rows->data, tokens.floats());
    EXPECT_EQ(rows->stride, kStride);
  }
  const auto later = loader.Load(tokens.rows(), 16, 30, 16, /*finite=*/true);
  ASSERT_THAT(later, IsOk());
  EXPECT_EQ(later->data, tokens.floats() + 16 * kStride);
}

TEST(FloatRowsTest, TokensBeyondTheLastAreNotReadInPlace) {
  FloatRowsLoader loader;
  const Tokens tokens(DataType::kFloat32);
  const auto rows = loader.Load(tokens.rows(), 32, kTokens, 16, /*finite=*/false);
  ASSERT_THAT(rows, IsOk());
  EXPECT_NE(rows->data, tokens.floats() + 32 * kStride);
  ExpectRows(*rows, 32, kTokens);
}

TEST(FloatRowsTest, NeighboursWithNanAreUsedOnlyWhereThatDoesNotMatter) {
  FloatRowsLoader loader;
  Tokens tokens(DataType::kFloat32);
  tokens.Set(14, kDim - 1, kNan);
  const auto any = loader.Load(tokens.rows(), 0, 13, 16, /*finite=*/false);
  ASSERT_THAT(any, IsOk());
  EXPECT_EQ(any->data, tokens.floats());
  const auto finite = loader.Load(tokens.rows(), 0, 13, 16, /*finite=*/true);
  ASSERT_THAT(finite, IsOk());
  EXPECT_NE(finite->data, tokens.floats());
  ExpectRows(*finite, 0, 13);
  for (int64_t r = 13; r < 16; ++r) {
    for (int64_t i = 0; i < kDim; ++i) EXPECT_TRUE(std::isfinite(finite->row(r)[i]));
  }
  // A NaN among the rows asked for is theirs.
  const auto own = loader.Load(tokens.rows(), 0, 16, 16, /*finite=*/true);
  ASSERT_THAT(own, IsOk());
  EXPECT_EQ(own->data, tokens.floats());
}

TEST(FloatRowsTest, CopiedRowsAreAligned) {
  FloatRowsLoader loader;
  const Tokens tokens(DataType::kBfloat16);
  const auto rows = loader.Load(tokens.rows(), 3, 20, 16, /*finite=*/false);
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(rows->data) % 64, 0U);
  EXPECT_EQ(rows->stride % simd::kRowMultiple, 0);
}

}  // namespace
}  // namespace attnd
