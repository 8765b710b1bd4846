// Blocks of tokens, converted or in place.
#include "core/attention/token_block.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/attention/simd_pairs.h"
#include "core/attention/simd_rows.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int64_t kTokens = 37;
constexpr int64_t kDim = 5;

// Element i of token k is 5 k + i, which every type holds.
struct Head {
  Head(DataType dtype, int64_t gap) : type(dtype), stride(kDim + gap) {
    bytes.resize(static_cast<size_t>(kTokens * stride * ElementBytes(type)));
    for (int64_t k = 0; k < kTokens; ++k) {
      for (int64_t i = 0; i < kDim; ++i) Set(k, i, static_cast<float>(kDim * k + i));
    }
  }
  void Set(int64_t k, int64_t i, float number) {
    simd::StoreRow(&number, 1, type, bytes.data() + (k * stride + i) * ElementBytes(type));
  }
  [[nodiscard]] TokenRows rows() const { return {bytes.data(), type, stride, kDim, kTokens}; }

  DataType type;
  int64_t stride;
  std::vector<std::byte> bytes;
};

constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16};

void ExpectNumbers(const TokenRows& tokens, int64_t first, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    float row[kDim];
    simd::LoadRow(tokens.base + k * tokens.stride * ElementBytes(tokens.dtype), tokens.dtype, kDim, row);
    for (int64_t i = 0; i < kDim; ++i) ASSERT_EQ(row[i], static_cast<float>(kDim * (first + k) + i));
  }
}

TEST(TokenBlockTest, TokensAndFloatsAreThoseOfTheBlock) {
  for (const DataType dtype : kTypes) {
    for (const int64_t gap : {0, 3}) {
      for (const bool in_pairs : {false, true}) {
        const Head head(dtype, gap);
        TokenBlock block;
        block.Begin(head.rows(), in_pairs);
        for (const KeyRange keys : {KeyRange{0, 16}, KeyRange{16, 32}, KeyRange{32, kTokens}, KeyRange{8, 9}}) {
          block.Turn(keys);
          ASSERT_THAT(block.Load(), IsOk());
          ExpectNumbers(block.TokensFrom(keys.begin), keys.begin, keys.size());
          ASSERT_THAT(block.LoadFloats(), IsOk());
          ExpectNumbers(block.TokensFrom(keys.end - 1), keys.end - 1, 1);
          for (int64_t k = keys.begin; k < keys.end; ++k) {
            ExpectNumbers(block.FloatsFrom(k).AsTokens(kDim, keys.end - k), k, keys.end - k);
          }
        }
      }
    }
  }
}

TEST(TokenBlockTest, WhatNeedsNoConversionStaysWhereItIs) {
  for (const DataType dtype : kTypes) {
    for (const bool in_pairs : {false, true}) {
      const Head head(dtype, 0);
      TokenBlock block;
      block.Begin(head.rows(), in_pairs);
      block.Turn({8, 24});
      ASSERT_THAT(block.Load(), IsOk());
      const bool expected = dtype == DataType::kFloat32 || (in_pairs && simd::PairsRead(dtype));
      EXPECT_EQ(block.in_place(), expected);
      const std::byte* ninth = head.bytes.data() + 9 * kDim * ElementBytes(dtype);
      EXPECT_EQ(block.TokensFrom(9).base == ninth, expected);
      EXPECT_EQ(block.MemoryFrom(9), ninth);
    }
  }
  const Head apart(DataType::kFloat32, 1);
  TokenBlock block;
  block.Begin(apart.rows(), false);
  EXPECT_EQ(block.MemoryFrom(9), nullptr);
}

TEST(TokenBlockTest, FinitenessIsThatOfTheTokensAskedFor) {
  for (const DataType dtype : kTypes) {
    for (const int64_t gap : {0, 3}) {
      for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        Head head(dtype, gap);
        // Between tokens it does not count.
        std::memset(head.bytes.data() + kDim * ElementBytes(dtype), gap > 0 ? 0xFF : 0,
                    static_cast<size_t>(gap * ElementBytes(dtype)));
        TokenBlock block;
        block.Begin(head.rows(), false);
        EXPECT_TRUE(block.AllFinite({0, kTokens}));
        head.Set(20, kDim - 1, bad);
        EXPECT_FALSE(block.AllFinite({0, kTokens}));
        EXPECT_FALSE(block.AllFinite({20, 21}));
        EXPECT_TRUE(block.AllFinite({0, 20}));
        EXPECT_TRUE(block.AllFinite({21, kTokens}));
        EXPECT_TRUE(block.AllFinite({20, 20}));
      }
    }
  }
}

}  // namespace
}  // namespace attnd
