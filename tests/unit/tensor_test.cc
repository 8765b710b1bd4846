#include "core/attention/tensor.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace attnd {
namespace {

std::vector<std::byte> CountingBytes(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

TEST(FragmentsTest, AnEmptyListHasNoBytesAndCopiesNothing) {
  const Fragments fragments;
  EXPECT_TRUE(fragments.empty());
  EXPECT_EQ(fragments.size(), 0U);
  fragments.CopyTo(nullptr);
}

TEST(FragmentsTest, PiecesAreJoinedInOrder) {
  const std::vector<std::byte> bytes = CountingBytes(100);
  const std::span<const std::byte> all(bytes);
  Fragments fragments;
  size_t at = 0;
  for (const size_t piece : {1U, 2U, 3U, 31U, 0U, 63U}) {
    fragments.Append(all.subspan(at, piece));
    at += piece;
  }
  EXPECT_EQ(fragments.size(), 100U);
  std::vector<std::byte> copy(100);
  fragments.CopyTo(copy.data());
  EXPECT_EQ(copy, bytes);
}

TEST(FragmentsTest, EmptyPiecesAreDropped) {
  const std::vector<std::byte> bytes = CountingBytes(4);
  Fragments fragments;
  fragments.Append({});
  fragments.Append(bytes);
  fragments.Append(std::span(bytes).first(0));
  EXPECT_EQ(fragments.pieces().size(), 1U);
  EXPECT_FALSE(fragments.empty());
}

TEST(FragmentsTest, OnePieceIsKeptWithoutACopy) {
  const std::vector<std::byte> bytes = CountingBytes(8);
  const Fragments fragments{std::span<const std::byte>(bytes)};
  ASSERT_EQ(fragments.pieces().size(), 1U);
  EXPECT_EQ(fragments.pieces()[0].data(), bytes.data());
}

TEST(FragmentsTest, OnePieceMayAppearAgain) {
  const std::vector<std::byte> bytes = CountingBytes(3);
  Fragments fragments;
  for (int i = 0; i < 4; ++i) fragments.Append(bytes);
  std::vector<std::byte> copy(fragments.size());
  fragments.CopyTo(copy.data());
  for (size_t i = 0; i < copy.size(); ++i) EXPECT_EQ(copy[i], bytes[i % 3]) << i;
}

TEST(TensorTest, TypesHaveTheNamesOfTheContract) {
  EXPECT_STREQ(DataTypeName(DataType::kFloat32), "FLOAT32");
  EXPECT_STREQ(DataTypeName(DataType::kFloat16), "FLOAT16");
  EXPECT_STREQ(DataTypeName(DataType::kBfloat16), "BFLOAT16");
  EXPECT_STREQ(DataTypeName(DataType::kBool), "BOOL");
  EXPECT_STREQ(DataTypeName(DataType::kBit), "BIT");
}

TEST(TensorTest, ShapesPrintAsLists) {
  EXPECT_EQ(ShapeString(std::vector<int64_t>{}), "[]");
  EXPECT_EQ(ShapeString(std::vector<int64_t>{7}), "[7]");
  EXPECT_EQ(ShapeString(std::vector<int64_t>{2, 0, -3}), "[2, 0, -3]");
}

TEST(ShapeStringTest, AHostileShapeIsCutShort) {
  EXPECT_EQ(ShapeString(std::vector<int64_t>(1'000'000, 0)), "[0, 0, 0, 0, 0, 0, 0, 0, ... 1000000 extents]");
}

}  // namespace
}  // namespace attnd
