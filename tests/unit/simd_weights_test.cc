// Sums over weights, by rows and by strips, against float64 in every instruction set this
// machine has; memory behind what is given is not touched.
#include "core/attention/simd_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/attention/simd_strip.h"
#include "tests/support/guarded.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strip_widths.h"

namespace attnd::simd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
// Of a sum of n terms in float32, of which none is negative.
double SumError(double sum, int64_t n) { return sum * static_cast<double>(n + 2) * 0x1p-24; }

// Some weights of a row, every third hidden.
GuardedFloats Weights(int64_t n, uint64_t seed) {
  Random random(seed);
  GuardedFloats weights(n);
  for (int64_t k = 0; k < n; ++k) weights[k] = k % 3 == 2 ? 0 : std::exp(2 * random.Normal() - 8);
  return weights;
}

TEST(SimdWeightsTest, SumsOfARow) {
  ForEachTarget([] {
    for (const int64_t n : StripLengths()) {
      for (const int64_t distance : {int64_t{0}, int64_t{5}, n + 3, int64_t{-9}, int64_t{1} << 40}) {
        const GuardedFloats w = Weights(n, static_cast<uint64_t>(n));
        GuardedFloats columns(n, 2.0F);
        const WeightSums sums = SumWeights(w, n, distance, columns);
        double total = 0;
        double moment = 0;
        float largest = 0;
        for (int64_t k = 0; k < n; ++k) {
          total += static_cast<double>(w[k]);
          moment += static_cast<double>(w[k]) * std::abs(static_cast<double>(distance - k));
          largest = std::max(largest, w[k]);
          ASSERT_EQ(columns[k], 2.0F + w[k]) << "key " << k << " of " << n;
        }
        ASSERT_NEAR(sums.total, total, SumError(total, n));
        ASSERT_NEAR(sums.distance, moment, 2 * SumError(moment, n));
        ASSERT_EQ(sums.largest, largest);
        ASSERT_TRUE(columns.intact());
      }
    }
  });
}

TEST(SimdWeightsTest, EntropyAndPoolOfARow) {
  ForEachTarget([] {
    for (const int64_t n : StripLengths()) {
      const GuardedFloats w = Weights(n, static_cast<uint64_t>(n) + 100);
      double entropy = 0;
      double total = 0;
      float largest = 0;
      for (int64_t k = 0; k < n; ++k) {
        if (w[k] > 0) entropy -= static_cast<double>(w[k]) * std::log(static_cast<double>(w[k]));
        total += static_cast<double>(w[k]);
        largest = std::max(largest, w[k]);
      }
      ASSERT_NEAR(EntropyOf(w, n), entropy, 2 * SumError(entropy, n)) << n;
      const SumAndMax pooled = PoolWeights(w, n);
      ASSERT_NEAR(pooled.sum, total, SumError(total, n));
      ASSERT_EQ(pooled.max, largest);
    }
    const float certain[] = {1, 0, 0};
    EXPECT_EQ(EntropyOf(certain, 3), 0);
    EXPECT_EQ(EntropyOf(certain, 0), 0);
    EXPECT_EQ(PoolWeights(certain, 0).sum, 0);
  });
}

TEST(SimdWeightsTest, FirstAboveIsTheFirst) {
  ForEachTarget([] {
    for (const int64_t n : StripLengths()) {
      GuardedFloats row(n, 1.0F);
      EXPECT_EQ(FirstAbove(row, 0, n, 1), n);
      EXPECT_EQ(FirstAbove(row, 0, n, 0.5F), 0);
      for (int64_t at = 0; at < n; ++at) {
        row[at] = 2;
        ASSERT_EQ(FirstAbove(row, 0, n, 1), at);
        ASSERT_EQ(FirstAbove(row, at, n, 1), at);
        ASSERT_EQ(FirstAbove(row, at + 1, n, 1), n);
        row[at] = 1;
      }
    }
  });
}

TEST(SimdWeightsTest, SumsOfAStrip) {
  ForEachTarget([] {
    for (const int64_t width : StripWidths()) {
      for (const int64_t keys : StripLengths()) {
        SCOPED_TRACE(testing::Message() << "width " << width << ", keys " << keys);
        Random random(static_cast<uint64_t>(keys));
        GuardedFloats p(keys * width);
        for (int64_t i = 0; i < p.size(); ++i) p[i] = std::exp(random.Normal() - 3);
        GuardedFloats factor(width);
        GuardedFloats distance(width);
        for (int64_t r = 0; r < width; ++r) {
          factor[r] = 1.0F / static_cast<float>(r + 1);
          distance[r] = static_cast<float>(r * 3 - 7);
        }
        GuardedFloats total(width);
        GuardedFloats moment(width);
        GuardedFloats largest(width);
        SumStripWeights(p, width, keys, {factor, distance, total, moment, largest});
        // Rows of two heads, one after the other, but for the last row, which is of none.
        GuardedFloats heads(2 * width, 0.0F);
        for (int64_t r = 0; r + 1 < width; ++r) heads[(r % 2) * width + r] = 1;
        const int64_t stride = keys + 3;
        GuardedFloats columns(2 * stride, 1.0F);
        AddStripColumns(p, width, keys, {factor, heads, 2, columns, stride});
        std::vector<double> sums(static_cast<size_t>(2 * keys), 1.0);
        for (int64_t r = 0; r < width; ++r) {
          double row_total = 0;
          double row_moment = 0;
          float row_largest = 0;
          for (int64_t k = 0; k < keys; ++k) {
            const float w = p[k * width + r] * factor[r];
            row_total += static_cast<double>(w);
            row_moment += static_cast<double>(w) * std::abs(static_cast<double>(r * 3 - 7 - k));
            row_largest = std::max(row_largest, w);
            if (r + 1 < width) sums[static_cast<size_t>((r % 2) * keys + k)] += static_cast<double>(w);
          }
          ASSERT_NEAR(total[r], row_total, SumError(row_total, keys));
          ASSERT_NEAR(moment[r], row_moment, SumError(row_moment, keys));
          ASSERT_EQ(largest[r], row_largest);
        }
        for (int64_t k = 0; k < keys; ++k) {
          for (const int64_t head : {0, 1}) {
            const double sum = sums[static_cast<size_t>(head * keys + k)];
            ASSERT_NEAR(columns[head * stride + k], sum, SumError(sum, width));
          }
        }
        ASSERT_TRUE(total.intact() && moment.intact() && largest.intact() && columns.intact());
      }
    }
  });
}

// The moment gives the entropy, whatever order blocks come in and whatever their maxima.
TEST(SimdWeightsTest, TheMomentOfASoftmaxIsItsEntropy) {
  ForEachTarget([] {
    for (const int64_t width : StripWidths()) {
      constexpr int64_t kKeys = 24;
      constexpr int kBlocks = 5;
      Random random(7);
      GuardedFloats max(width, -kInf);
      GuardedFloats sum(width, 0.0F);
      GuardedFloats alpha(width);
      GuardedFloats moment(width, 0.0F);
      std::vector<std::vector<double>> scores(static_cast<size_t>(width));
      for (int block = 0; block < kBlocks; ++block) {
        GuardedFloats s(kKeys * width);
        GuardedFloats block_max(width, -kInf);
        for (int64_t i = 0; i < s.size(); ++i) {
          // The first block of the first row is hidden, and some keys of all.
          const bool hidden = i % 7 == 3 || (block == 0 && i % width == 0);
          s[i] = hidden ? -kInf : 4 * random.Normal() + static_cast<float>(block * (i % 3) * 5);
          if (!hidden) scores[static_cast<size_t>(i % width)].push_back(static_cast<double>(s[i]));
        }
        StripMax(width, kKeys, s, block_max);
        GuardedFloats plain = s;
        GuardedFloats plain_max = max;
        GuardedFloats plain_sum = sum;
        StripSoftmax(width, kKeys, block_max, plain, {plain_max, plain_sum, alpha});
        StripSoftmaxMoment(width, kKeys, block_max, s, {max, sum, alpha}, moment);
        for (int64_t i = 0; i < s.size(); ++i) ASSERT_EQ(s[i], plain[i]);
        for (int64_t r = 0; r < width; ++r) ASSERT_EQ(sum[r], plain_sum[r]);
      }
      for (int64_t r = 0; r < width; ++r) {
        double total = 0;
        const auto& row = scores[static_cast<size_t>(r)];
        const double largest = *std::max_element(row.begin(), row.end());
        for (const double x : row) total += std::exp(x - largest);
        double entropy = 0;
        for (const double x : row) entropy -= std::exp(x - largest) / total * (x - largest - std::log(total));
        const double from_moment = std::log(static_cast<double>(sum[r])) - static_cast<double>(moment[r] / sum[r]);
        // Sums of 120 terms, each exp off by 2^-22.
        ASSERT_NEAR(from_moment, entropy, (1 + entropy) * 0x1p-16) << "row " << r;
      }
    }
  });
}

}  // namespace
}  // namespace attnd::simd
