// Products of few rows in every instruction set this machine has.
#include "core/attention/simd_thin.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/attention/simd_rows.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"

namespace attnd::simd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16};
constexpr int64_t kDims[] = {1, 3, 7, 8, 15, 16, 17, 24, 40, 63, 64, 80, 100, 128, 200, 257};

int64_t RoundUp(int64_t n) { return (n + kRowMultiple - 1) / kRowMultiple * kRowMultiple; }

// Tokens of one head among others: NaN lies between them, and nothing behind the last.
class Tokens {
 public:
  Tokens(DataType dtype, int64_t count, int64_t dim, int64_t gap, uint64_t seed)
      : dtype_(dtype), count_(count), dim_(dim), stride_(dim + gap) {
    const auto size = static_cast<size_t>((count - 1) * stride_ + dim);
    floats_.assign(size, kNan);
    Random random(seed);
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t i = 0; i < dim; ++i) floats_[static_cast<size_t>(k * stride_ + i)] = random.Normal();
    }
    Convert();
  }
  void Set(int64_t k, int64_t i, float x) {
    floats_[static_cast<size_t>(k * stride_ + i)] = x;
    Convert();
  }
  [[nodiscard]] float at(int64_t k, int64_t i) const { return floats_[static_cast<size_t>(k * stride_ + i)]; }
  [[nodiscard]] TokenRows rows() const {
    const void* base = dtype_ == DataType::kFloat32 ? static_cast<const void*>(floats_.data()) : halves_.data();
    return {static_cast<const std::byte*>(base), dtype_, stride_, dim_, count_};
  }

 private:
  void Convert() {
    if (dtype_ == DataType::kFloat32) return;
    const auto n = static_cast<int64_t>(floats_.size());
    halves_.resize(floats_.size());
    StoreRow(floats_.data(), n, dtype_, reinterpret_cast<std::byte*>(halves_.data()));
    LoadRow(reinterpret_cast<const std::byte*>(halves_.data()), dtype_, n, floats_.data());
  }

  DataType dtype_;
  int64_t count_;
  int64_t dim_;
  int64_t stride_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

// Rows of floats, zeros behind them, 64-byte aligned.
class Rows {
 public:
  Rows(int64_t rows, int64_t length) : rows_(rows), stride_(RoundUp(length)) {
    memory_.assign(static_cast<size_t>(rows * stride_) + 16, 0.0F);
    const auto address = std::bit_cast<uintptr_t>(memory_.data());
    data_ = memory_.data() + (64 - address % 64) % 64 / sizeof(float);
  }
  Rows(int64_t rows, int64_t length, uint64_t seed) : Rows(rows, length) {
    Random random(seed);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < length; ++i) row(r)[i] = random.Normal();
    }
  }
  [[nodiscard]] float* row(int64_t r) const { return data_ + r * stride_; }
  [[nodiscard]] ConstRows From(int64_t first, int64_t count) const { return {row(first), stride_, count}; }
  [[nodiscard]] ConstRows all() const { return From(0, rows_); }
  [[nodiscard]] MutableRows out(int64_t first = 0) const { return {row(first), stride_}; }

 private:
  int64_t rows_;
  int64_t stride_;
  std::vector<float> memory_;
  float* data_ = nullptr;
};

bool SameBits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

TEST(SimdThinTest, DotProductsAreRight) {
  ForEachTarget([] {
    for (const DataType dtype : kTypes) {
      for (const int64_t dim : kDims) {
        const Tokens tokens(dtype, 11, dim, dim % 3 * 5, 7);
        for (const int64_t rows : {1, 2, 3, 4, 7}) {
          const Rows query(rows, dim, 9);
          const Rows scores(rows, 11);
          DotRows(query.all(), tokens.rows(), 1, 11, scores.out());
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t k = 1; k < 11; ++k) {
              double exact = 0;
              double size = 0;
              for (int64_t i = 0; i < dim; ++i) {
                const double product = static_cast<double>(query.row(r)[i]) * tokens.at(k, i);
                exact += product;
                size += std::abs(product);
              }
              ASSERT_NEAR(scores.row(r)[k - 1], exact, size * 16 * 0x1p-24) << dim << " row " << r << " key " << k;
            }
          }
        }
      }
    }
  });
}

TEST(SimdThinTest, WeightedSumsAreRight) {
  ForEachTarget([] {
    for (const DataType dtype : kTypes) {
      for (const int64_t dim : kDims) {
        const Tokens tokens(dtype, 70, dim, dim % 3 * 5, 7);
        for (const int64_t rows : {1, 2, 3, 4, 7}) {
          const Rows p(rows, 69, 9);
          const Rows start(rows, dim, 11);
          const Rows acc(rows, dim, 11);
          AddWeightedRows(p.all(), tokens.rows(), 1, 70, acc.out());
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t i = 0; i < dim; ++i) {
              double exact = start.row(r)[i];
              double size = std::abs(exact);
              for (int64_t k = 1; k < 70; ++k) {
                const double product = static_cast<double>(p.row(r)[k - 1]) * tokens.at(k, i);
                exact += product;
                size += std::abs(product);
              }
              ASSERT_NEAR(acc.row(r)[i], exact, size * 16 * 0x1p-24) << dim << " row " << r << " column " << i;
            }
          }
        }
      }
    }
  });
}

TEST(SimdThinTest, WideTokens) {
  ForEachTarget([] {
    const Tokens tokens(DataType::kFloat32, 5, 4096, 3, 7);
    const Rows query(1, 4096, 9);
    const Rows scores(1, 5);
    DotRows(query.all(), tokens.rows(), 0, 5, scores.out());
    const Rows acc(1, 4096);
    AddWeightedRows(query.all(), tokens.rows(), 0, 5, acc.out());
    for (int64_t k = 0; k < 5; ++k) {
      double exact = 0;
      for (int64_t i = 0; i < 4096; ++i) exact += static_cast<double>(query.row(0)[i]) * tokens.at(k, i);
      EXPECT_NEAR(scores.row(0)[k], exact, 1e-3);
    }
    for (int64_t i = 0; i < 4096; ++i) {
      double exact = 0;
      for (int64_t k = 0; k < 5; ++k) exact += static_cast<double>(query.row(0)[k]) * tokens.at(k, i);
      ASSERT_NEAR(acc.row(0)[i], exact, 1e-5) << i;
    }
  });
}

// Whatever is computed with a row, and wherever runs begin and end.
TEST(SimdThinTest, BitsBelongToTheRowAndTheToken) {
  ForEachTarget([] {
    for (const DataType dtype : kTypes) {
      for (const int64_t dim : {5, 16, 40, 48, 80, 96, 128, 168, 257}) {
        const Tokens tokens(dtype, 90, dim, 3, 7);
        const Rows query(7, dim, 9);
        const Rows scores(7, 90);
        DotRows(query.all(), tokens.rows(), 0, 90, scores.out());
        const Rows p(7, 90, 13);
        const Rows acc(7, dim, 11);
        AddWeightedRows(p.all(), tokens.rows(), 0, 90, acc.out());
        for (const int64_t rows : {1, 2, 3, 4}) {
          for (int64_t first = 0; first + rows <= 7; ++first) {
            const Rows sums(rows, dim);
            for (int64_t r = 0; r < rows; ++r) std::copy_n(Rows(7, dim, 11).row(first + r), dim, sums.row(r));
            int64_t begin = 0;
            for (const int64_t end : {1, 4, 17, 18, 80, 90}) {
              const Rows part(rows, 90);
              DotRows(query.From(first, rows), tokens.rows(), begin, end, part.out());
              const Rows weights(rows, 90);
              for (int64_t r = 0; r < rows; ++r) {
                for (int64_t k = begin; k < end; ++k) {
                  ASSERT_TRUE(SameBits(part.row(r)[k - begin], scores.row(first + r)[k])) << dim << " key " << k;
                }
                std::copy(p.row(first + r) + begin, p.row(first + r) + end, weights.row(r));
              }
              AddWeightedRows(weights.all(), tokens.rows(), begin, end, sums.out());
              begin = end;
            }
            for (int64_t r = 0; r < rows; ++r) {
              for (int64_t i = 0; i < dim; ++i) {
                ASSERT_TRUE(SameBits(sums.row(r)[i], acc.row(first + r)[i])) << dim << " column " << i;
              }
            }
          }
        }
      }
    }
  });
}

TEST(SimdThinTest, TokensWithoutWeightChangeNothing) {
  ForEachTarget([] {
    const Tokens tokens(DataType::kFloat32, 50, 40, 0, 7);
    const Rows p(2, 50, 9);
    for (int64_t r = 0; r < 2; ++r) {
      std::fill(p.row(r), p.row(r) + 10, 0.0F);
      std::fill(p.row(r) + 33, p.row(r) + 50, 0.0F);
    }
    const Rows all(2, 40);
    AddWeightedRows(p.all(), tokens.rows(), 0, 50, all.out());
    const Rows some(2, 40);
    AddWeightedRows({p.row(0) + 10, p.all().stride, 2}, tokens.rows(), 10, 33, some.out());
    for (int64_t r = 0; r < 2; ++r) {
      for (int64_t i = 0; i < 40; ++i) ASSERT_TRUE(SameBits(all.row(r)[i], some.row(r)[i]));
    }
  });
}

// No element counts twice where the last vector of a token overlaps the one before.
TEST(SimdThinTest, InfinityStaysInfinity) {
  ForEachTarget([] {
    for (const int64_t dim : {3, 17, 20, 31, 40, 65}) {
      for (int64_t i = 0; i < dim; ++i) {
        Tokens tokens(DataType::kFloat32, 3, dim, 1, 7);
        tokens.Set(1, i, kInf);
        const Rows query(1, dim);
        std::fill(query.row(0), query.row(0) + dim, 1.0F);
        const Rows scores(1, 3);
        DotRows(query.all(), tokens.rows(), 0, 3, scores.out());
        EXPECT_EQ(scores.row(0)[1], kInf) << dim << " " << i;
        EXPECT_TRUE(std::isfinite(scores.row(0)[0]) && std::isfinite(scores.row(0)[2]));
        const Rows acc(1, dim);
        AddWeightedRows(query.From(0, 1), tokens.rows(), 0, 3, acc.out());
        for (int64_t c = 0; c < dim; ++c) EXPECT_EQ(std::isfinite(acc.row(0)[c]), c != i) << dim << " " << c;
      }
    }
  });
}

}  // namespace
}  // namespace attnd::simd
