// Products with packed matrices: their bits are defined, so most tests ask for equality with
// a loop of std::fma.
#include "core/linear/packed_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/isa.h"
#include "tests/support/page_end.h"
#include "tests/support/simd_targets.h"
#include "tests/support/status_matchers.h"
#include "tests/support/weights.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr DataType kAllTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16};
constexpr Orientation kBoth[] = {Orientation::kInOut, Orientation::kOutIn};

// Deep matrices are cut along k, many rows into blocks.
TEST(PackedMatrixTest, LargeExtentsHaveTheBitsOfTheChain) {
  for (const int64_t in : {767, 768, 769, 1537, 4096}) {
    SCOPED_TRACE(in);
    const Weights w(in, 40, DataType::kFloat32, Orientation::kInOut);
    const PackedMatrix packed = w.Pack();
    const auto x = Normals(19 * in, 2);
    const auto bias = Normals(w.out(), 3);
    const auto expected = Expected(w, x.data(), in, 19, bias.data());
    for (const int64_t rows : {1, 3, 6, 19}) {
      for (const Columns columns : {Columns{0, 40}, {9, 37}}) {
        ExpectProduct(w, packed, x, in, rows, columns, bias, expected);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
  const Weights w(9, 50, DataType::kFloat32, Orientation::kInOut);
  const auto x = Normals(int64_t{1100} * 9, 2);
  const auto expected = Expected(w, x.data(), 9, 1100, nullptr);
  for (const int64_t rows : {512, 513, 1025, 1100}) {
    ExpectProduct(w, w.Pack(), x, 9, rows, {0, 50}, {}, expected);
    ExpectProduct(w, w.Pack(), x, 9, rows, {3, 45}, {}, expected);
  }
}

TEST(PackedMatrixTest, RowsAloneAreTheRowsOfABatch) {
  const Weights w(200, 96, DataType::kFloat32, Orientation::kOutIn);
  const PackedMatrix packed = w.Pack();
  constexpr int64_t kRows = 129;
  const auto x = Normals(kRows * 200, 2);
  std::vector<float> batch(static_cast<size_t>(kRows * 96));
  ASSERT_THAT(packed.Multiply({x.data(), 200}, kRows, {0, 96}, nullptr, {batch.data(), 96}), IsOk());
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<float> alone(96);
    ASSERT_THAT(packed.Multiply({x.data() + r * 200, 200}, 1, {0, 96}, nullptr, {alone.data(), 96}), IsOk());
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), batch.begin() + r * 96)) << r;
  }
}

TEST(PackedMatrixTest, ThreadsThatShareAMatrixGetTheSameBits) {
  const Weights w(300, 128, DataType::kFloat32, Orientation::kInOut);
  const PackedMatrix packed = w.Pack();
  constexpr int64_t kRows = 70;
  const auto x = Normals(kRows * 300, 2);
  const auto multiply = [&](Columns columns, float* y) {
    for (int i = 0; i < 20; ++i) {
      EXPECT_THAT(packed.Multiply({x.data(), 300}, kRows, columns, nullptr, {y, 128}), IsOk());
    }
  };
  std::vector<float> together(static_cast<size_t>(kRows * 128));
  std::vector<float> apart(together.size());
  multiply({0, 128}, together.data());
  std::thread first([&] { multiply({0, 50}, apart.data()); });
  std::thread second([&] { multiply({50, 128}, apart.data() + 50); });
  first.join();
  second.join();
  EXPECT_EQ(together, apart);
}

TEST(PackedMatrixTest, EveryTypeOrientationAndPieceIsPacked) {
  for (const DataType dtype : kAllTypes) {
    for (const Orientation orientation : kBoth) {
      for (const auto& [in, out] : {std::pair<int64_t, int64_t>{35, 70}, {64, 48}, {5, 2100}, {2100, 19}, {1, 1}}) {
        SCOPED_TRACE(testing::Message() << DataTypeName(dtype) << " " << in << " to " << out);
        Weights w(in, out, dtype, orientation);
        const auto x = Normals(2 * in, 2);
        const auto expected = Expected(w, x.data(), in, 2, nullptr);
        ExpectProduct(w, w.Pack(), x, in, 2, {0, out}, {}, expected);
        for (const std::vector<size_t>& lengths :
             {std::vector<size_t>{1 << 20}, {4096}, {1}, {3, 1, 200}, {7}, {1001, 64}}) {
          w.Cut(lengths);
          ExpectProduct(w, w.Pack(), x, in, 2, {0, out}, {}, expected);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(PackedMatrixTest, NothingIsReadBehindTheTensor) {
  for (const DataType dtype : kAllTypes) {
    for (const Orientation orientation : kBoth) {
      for (int64_t in = 1; in <= 18; ++in) {
        for (const int64_t out : {1, 5, 16, 19}) {
          const Weights w(in, out, dtype, orientation);
          std::vector<float> as_floats(static_cast<size_t>((in * out * ElementBytes(dtype) + 3) / 4));
          const PageEndFloats room(as_floats);
          const auto size = static_cast<size_t>(in * out * ElementBytes(dtype));
          TensorView view{dtype, {in, out}, Fragments(room.last_bytes(size))};
          if (orientation == Orientation::kOutIn) std::swap(view.shape[0], view.shape[1]);
          EXPECT_THAT(PackedMatrix::Pack(view, orientation), IsOk());
        }
      }
    }
  }
}

// |computed - exact| <= n u / (1 - n u) sum |x w| for a chain of n operations (Higham,
// Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
TEST(PackedMatrixTest, ResultsAreWithinTheBoundOfTheSum) {
  const Weights w(1000, 64, DataType::kFloat32, Orientation::kInOut);
  const PackedMatrix packed = w.Pack();
  constexpr int64_t kRows = 20;
  const auto x = Normals(kRows * 1000, 2);
  const auto bias = Normals(64, 3);
  std::vector<float> y(static_cast<size_t>(kRows * 64));
  ASSERT_THAT(packed.Multiply({x.data(), 1000}, kRows, {0, 64}, bias.data(), {y.data(), 64}), IsOk());
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < 64; ++c) {
      double sum = bias[static_cast<size_t>(c)];
      double size = std::abs(sum);
      for (int64_t k = 0; k < 1000; ++k) {
        const double product = double{x[static_cast<size_t>(r * 1000 + k)]} * double{w.at(k, c)};
        sum += product;
        size += std::abs(product);
      }
      ASSERT_NEAR(y[static_cast<size_t>(r * 64 + c)], sum, 1001 * 0x1p-24 * size) << r << " " << c;
    }
  }
}

TEST(PackedMatrixTest, NoRowsAreNoWork) {
  const Weights w(8, 8, DataType::kFloat32, Orientation::kInOut);
  EXPECT_THAT(w.Pack().Multiply({nullptr, 8}, 0, {0, 8}, nullptr, {nullptr, 8}), IsOk());
}

TEST(PackedMatrixTest, NanAndInfinityReachTheirRowOrColumnOnly) {
  const Weights w(20, 40, DataType::kFloat32, Orientation::kInOut);
  const PackedMatrix packed = w.Pack();
  auto x = Normals(int64_t{9} * 20, 2);
  x[4 * 20 + 3] = std::numeric_limits<float>::quiet_NaN();
  x[6 * 20 + 19] = std::numeric_limits<float>::infinity();
  std::vector<float> y(size_t{9} * 40);
  ASSERT_THAT(packed.Multiply({x.data(), 20}, 9, {0, 40}, nullptr, {y.data(), 40}), IsOk());
  for (size_t r = 0; r < 9; ++r) {
    for (size_t c = 0; c < 40; ++c) {
      EXPECT_EQ(std::isnan(y[r * 40 + c]), r == 4);
      EXPECT_EQ(std::isinf(y[r * 40 + c]), r == 6);
    }
  }
}

TEST(PackedMatrixTest, BytesAreThoseOfWholePanels) {
  EXPECT_EQ(PackedMatrix::BytesFor(10, 1), 10 * 16 * 4);
  EXPECT_EQ(PackedMatrix::BytesFor(10, 16), 10 * 16 * 4);
  EXPECT_EQ(PackedMatrix::BytesFor(768, 3072), int64_t{768} * 3072 * 4);
  const Weights w(768, 700, DataType::kBfloat16, Orientation::kInOut);
  EXPECT_EQ(w.Pack().bytes(), PackedMatrix::BytesFor(768, 700));
}

// Last, because what follows them would not keep to the limit of instruction sets.

TEST(PackedMatrixTest, EveryNumberOfRowsAndRangeOfColumnsHasTheBitsOfTheChain) {
  ForEachTarget([] {
    const Weights w(37, 83, DataType::kFloat32, Orientation::kInOut);
    const PackedMatrix packed = w.Pack();
    const auto x = Normals(int64_t{40} * 41, 2);
    const auto bias = Normals(w.out(), 3);
    const auto expected = Expected(w, x.data(), 41, 40, bias.data());
    for (int64_t rows = 1; rows <= 40; ++rows) {
      for (const Columns columns : {Columns{0, 83},
                                    {0, 16},
                                    {0, 1},
                                    {16, 80},
                                    {3, 5},
                                    {15, 17},
                                    {7, 77},
                                    {80, 83},
                                    {82, 83},
                                    {32, 83},
                                    {1, 33},
                                    {5, 5}}) {
        ExpectProduct(w, packed, x, 41, rows, columns, bias, expected, rows % 3);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  });
}

TEST(PackedMatrixTest, ExtentsOfEverySizeHaveTheBitsOfTheChain) {
  ForEachTarget([] {
    for (const int64_t in : {1, 2, 3, 4, 7, 16, 33}) {
      for (const int64_t out : {1, 2, 8, 15, 16, 17, 31, 32, 33, 64, 130}) {
        SCOPED_TRACE(testing::Message() << in << " to " << out);
        const Weights w(in, out, DataType::kFloat32, Orientation::kOutIn);
        const PackedMatrix packed = w.Pack();
        EXPECT_EQ(packed.in(), in);
        EXPECT_EQ(packed.out(), out);
        const auto x = Normals(29 * in, 2);
        const auto expected = Expected(w, x.data(), in, 29, nullptr);
        for (const int64_t rows : {1, 2, 3, 4, 5, 14, 15, 29}) {
          ExpectProduct(w, packed, x, in, rows, {0, out}, {}, expected);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  });
}

}  // namespace
}  // namespace attnd
