// Products with weights, their inputs in memory that ends where reading ends the process, and
// what is promised of them.
#ifndef ATTND_TESTS_SUPPORT_WEIGHTS_H_
#define ATTND_TESTS_SUPPORT_WEIGHTS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"
#include "core/linear/packed_matrix.h"
#include "tests/support/guarded.h"
#include "tests/support/page_end.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace attnd {

inline std::vector<float> Normals(int64_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> floats(static_cast<size_t>(n));
  for (float& x : floats) x = random.Normal();
  return floats;
}

// A matrix as a tensor that owns its bytes, in pieces.
class Weights {
 public:
  Weights(int64_t in, int64_t out, DataType dtype, Orientation orientation, uint64_t seed = 1)
      : in_(in), out_(out), orientation_(orientation), floats_(Normals(in * out, seed)) {
    const bool in_out = orientation == Orientation::kInOut;
    view_.dtype = dtype;
    view_.shape = in_out ? std::vector{in, out} : std::vector{out, in};
    bytes_.resize(static_cast<size_t>(in * out * ElementBytes(dtype)));
    simd::StoreRow(floats_.data(), in * out, dtype, bytes_.data());
    simd::LoadRow(bytes_.data(), dtype, in * out, floats_.data());
    view_.bytes = Fragments(bytes_);
  }

  // Pieces of these lengths in turn, each apart from the others and at an odd address.
  void Cut(const std::vector<size_t>& lengths) {
    view_.bytes = Fragments();
    pieces_.clear();
    size_t at = 0;
    for (size_t i = 0; at < bytes_.size(); ++i) {
      const size_t n = std::min(lengths[i % lengths.size()], bytes_.size() - at);
      auto& piece = pieces_.emplace_back(n + 1);
      std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(at), n, piece.begin() + 1);
      view_.bytes.Append(std::span(piece).subspan(1));
      at += n;
    }
  }

  [[nodiscard]] PackedMatrix Pack() const {
    auto packed = PackedMatrix::Pack(view_, orientation_);
    EXPECT_THAT(packed, IsOk());
    return *std::move(packed);
  }
  [[nodiscard]] float at(int64_t k, int64_t c) const {
    return floats_[static_cast<size_t>(orientation_ == Orientation::kInOut ? k * out_ + c : c * in_ + k)];
  }
  [[nodiscard]] int64_t in() const { return in_; }
  [[nodiscard]] int64_t out() const { return out_; }

 private:
  int64_t in_;
  int64_t out_;
  Orientation orientation_;
  std::vector<float> floats_;
  std::vector<std::byte> bytes_;
  std::vector<std::vector<std::byte>> pieces_;
  TensorView view_;
};

// Whether products and sums of the instruction set in use round once.
inline bool Fused() {
  const std::string_view target = simd::TargetName();
  return !target.starts_with("SS") && target != "SCALAR";
}

// What is promised, for all columns: [rows, out].
inline std::vector<float> Expected(const Weights& w, const float* x, int64_t x_stride, int64_t rows,
                                   const float* bias) {
  std::vector<float> y;
  const bool fused = Fused();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < w.out(); ++c) {
      float sum = 0;
      for (int64_t k = 0; k < w.in(); ++k) {
        const float a = x[r * x_stride + k];
        const volatile float product = a * w.at(k, c);
        sum = fused ? std::fma(a, w.at(k, c), sum) : product + sum;
      }
      y.push_back(bias == nullptr ? sum : sum + bias[c]);
    }
  }
  return y;
}

// Compares rows of a range of columns with Expected's, bit by bit.
inline void ExpectSame(const std::vector<float>& expected, int64_t out, int64_t rows, Columns columns, const float* y,
                       int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = columns.begin; c < columns.end; ++c) {
      const float got = y[r * y_stride + c - columns.begin];
      ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected[static_cast<size_t>(r * out + c)]))
          << "row " << r << " of " << rows << ", column " << c << " of [" << columns.begin << ", " << columns.end
          << ")";
    }
  }
}

// Multiplies from memory that ends at unreadable pages into guarded memory, and compares.
inline void ExpectProduct(const Weights& w, const PackedMatrix& packed, const std::vector<float>& x, int64_t x_stride,
                          int64_t rows, Columns columns, const std::vector<float>& bias,
                          const std::vector<float>& expected, int64_t gap = 0) {
  const std::span<const float> all_x(x);
  const std::span<const float> all_bias(bias);
  const PageEndFloats guarded_x(all_x.first(static_cast<size_t>((rows - 1) * x_stride + w.in())));
  const PageEndFloats guarded_bias(
      bias.empty() ? all_bias
                   : all_bias.subspan(static_cast<size_t>(columns.begin), static_cast<size_t>(columns.size())));
  const int64_t y_stride = columns.size() + gap;
  GuardedFloats y((rows - 1) * y_stride + columns.size(), -7, rows % 16);
  ASSERT_THAT(packed.Multiply({guarded_x.data(), x_stride}, rows, columns, bias.empty() ? nullptr : guarded_bias.data(),
                              {y.data(), y_stride}),
              IsOk());
  EXPECT_TRUE(y.intact());
  for (int64_t r = 0; r + 1 < rows; ++r) {
    for (int64_t c = columns.size(); c < y_stride; ++c) ASSERT_EQ(y[r * y_stride + c], -7) << "between rows";
  }
  ExpectSame(expected, w.out(), rows, columns, y.data(), y_stride);
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_WEIGHTS_H_
