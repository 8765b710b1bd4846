// The vector loops in every instruction set this machine has.
#include "core/attention/simd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/attention_problem.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"

namespace attnd::simd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// The header promises a maximum, a sum and exp; this is how far exp may be off, relatively.
constexpr double kExpError = 0x1p-21;

TEST(SimdTest, TargetsCanBeNarrowed) {
  std::set<std::string> names;
  ForEachTarget([&names] { names.insert(TargetName()); });
  EXPECT_EQ(names.size(), hwy::SupportedAndGeneratedTargets().size());
}

TEST(SimdTest, ScaleRowMultipliesEveryElementAndNoOther) {
  ForEachTarget([] {
    for (int64_t n = 0; n <= 70; ++n) {
      for (const size_t misalign : {size_t{0}, size_t{1}, size_t{5}}) {
        std::vector<float> source(misalign + 80);
        for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i) - 30.5F;
        std::vector<float> destination(misalign + 80, 7);
        ScaleRow(source.data() + misalign, n, -0.25F, destination.data() + misalign);
        for (size_t i = 0; i < destination.size(); ++i) {
          const bool inside = i >= misalign && i < misalign + static_cast<size_t>(n);
          ASSERT_EQ(destination[i], inside ? -0.25F * source[i] : 7) << n << " " << i;
        }
        std::vector<float> same = source;
        ScaleRow(same.data() + misalign, n, -0.25F, same.data() + misalign);
        for (size_t i = misalign; i < misalign + static_cast<size_t>(n); ++i) ASSERT_EQ(same[i], destination[i]);
      }
    }
  });
}

TEST(SimdTest, AllFiniteFindsOneBadElementAnywhere) {
  ForEachTarget([] {
    for (int64_t n = 0; n <= 40; ++n) {
      std::vector<float> values(static_cast<size_t>(n) + 1, std::numeric_limits<float>::max());
      values.back() = kNan;  // outside
      EXPECT_TRUE(AllFinite(values.data(), n)) << n;
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        for (const float bad : {kNan, kInf, -kInf, -kNan}) {
          const float good = std::exchange(values[i], bad);
          EXPECT_FALSE(AllFinite(values.data(), n)) << i << " of " << n;
          values[i] = good;
        }
      }
    }
  });
}

TEST(SimdTest, DivideRowDividesAndReportsWhatIsNotFinite) {
  ForEachTarget([] {
    for (int64_t n = 1; n <= 40; ++n) {
      std::vector<float> source(static_cast<size_t>(n));
      for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i) + 0.1F;
      std::vector<float> result(static_cast<size_t>(n) + 1, 7);
      EXPECT_TRUE(DivideRow(source.data(), n, 3, result.data()));
      for (size_t i = 0; i < source.size(); ++i) ASSERT_EQ(result[i], source[i] / 3);
      EXPECT_EQ(result.back(), 7);
      source[static_cast<size_t>(n) / 2] = kInf;
      EXPECT_FALSE(DivideRow(source.data(), n, 3, result.data()));
    }
  });
}

// Scores of some rows, and a state, both in the form the loops want.
struct Softmax {
  Softmax(int64_t row_count, int64_t key_count, int64_t value_dim)
      : rows(row_count),
        keys(key_count),
        stride(Padded(key_count)),
        acc_stride(Padded(value_dim)),
        // What lies behind the keys must not matter.
        scores(static_cast<size_t>(rows * stride), kNan),
        max(static_cast<size_t>(rows), -kInf),
        sum(static_cast<size_t>(rows), 0),
        acc(static_cast<size_t>(rows * acc_stride), 0) {}

  static int64_t Padded(int64_t n) { return (n + kRowMultiple - 1) / kRowMultiple * kRowMultiple; }
  float& score(int64_t r, int64_t k) { return scores[static_cast<size_t>(r * stride + k)]; }
  void Run(const KeyRange* visible) {
    SoftmaxBlock({scores.data(), stride, rows, keys, visible}, {max.data(), sum.data(), acc.data(), acc_stride});
  }

  int64_t rows;
  int64_t keys;
  int64_t stride;
  int64_t acc_stride;
  AlignedFloats scores;
  AlignedFloats max;
  AlignedFloats sum;
  AlignedFloats acc;
};

TEST(SimdTest, SoftmaxBlockFollowsItsDefinition) {
  ForEachTarget([] {
    Random random(5);
    for (const int64_t keys : {1, 2, 15, 16, 17, 31, 32, 33, 100, 512}) {
      Softmax s(3, keys, 4);
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t k = 0; k < keys; ++k) s.score(r, k) = 20 * random.Normal();
      }
      const AlignedFloats before = s.scores;
      s.Run(nullptr);
      for (int64_t r = 0; r < 3; ++r) {
        double max = -std::numeric_limits<double>::infinity();
        for (int64_t k = 0; k < keys; ++k) max = std::max<double>(max, before[static_cast<size_t>(r * s.stride + k)]);
        EXPECT_EQ(s.max[static_cast<size_t>(r)], max);
        double sum = 0;
        for (int64_t k = 0; k < keys; ++k) {
          const float shifted = before[static_cast<size_t>(r * s.stride + k)] - static_cast<float>(max);
          const double p = std::exp(static_cast<double>(shifted));
          ASSERT_NEAR(s.score(r, k), p, p * kExpError + 0x1p-125) << "row " << r << " key " << k << " of " << keys;
          sum += p;
        }
        EXPECT_NEAR(s.sum[static_cast<size_t>(r)], sum, sum * kExpError);
      }
    }
  });
}

TEST(SimdTest, ExpIsAccurateOverItsWholeRange) {
  ForEachTarget([] {
    constexpr int64_t kKeys = 512;
    double worst = 0;
    for (int64_t step = 0; step < 200; ++step) {
      Softmax s(1, kKeys, 1);
      s.score(0, 0) = 0;
      for (int64_t k = 1; k < kKeys; ++k) s.score(0, k) = -static_cast<float>(step * kKeys + k) * 8.5e-4F;
      const AlignedFloats before = s.scores;
      s.Run(nullptr);
      for (int64_t k = 0; k < kKeys; ++k) {
        const double exact = std::exp(static_cast<double>(before[static_cast<size_t>(k)]));
        worst = std::max(worst, std::abs(s.score(0, k) - exact) / exact);
      }
    }
    EXPECT_LE(worst, kExpError);
    EXPECT_GT(worst, 0);
  });
}

TEST(SimdTest, SoftmaxBlockCarriesTheStateForward) {
  ForEachTarget([] {
    Softmax s(2, 20, 3);
    s.max = {1, 50};
    s.sum = {2, 3};
    for (size_t i = 0; i < s.acc.size(); ++i) s.acc[i] = i % 16 < 3 ? 8 : 0;
    for (int64_t r = 0; r < 2; ++r) {
      for (int64_t k = 0; k < 20; ++k) s.score(r, k) = k == 7 ? 3 : -200;
    }
    s.Run(nullptr);
    // Row 0 meets a larger score, row 1 does not.
    EXPECT_EQ(s.max[0], 3);
    EXPECT_NEAR(s.sum[0], 2 * std::exp(-2.0) + 1, 1e-6);
    EXPECT_NEAR(s.acc[0], 8 * std::exp(-2.0), 1e-6);
    EXPECT_EQ(s.score(0, 7), 1);
    EXPECT_EQ(s.score(0, 8), 0);
    EXPECT_EQ(s.max[1], 50);
    EXPECT_EQ(s.sum[1], 3);
    EXPECT_EQ(s.acc[static_cast<size_t>(s.acc_stride)], 8);
  });
}

TEST(SimdTest, SoftmaxBlockGivesHiddenKeysNoWeight) {
  ForEachTarget([] {
    for (const KeyRange seen : {KeyRange{0, 33}, {0, 1}, {32, 33}, {5, 20}, {0, 0}, {33, 33}, {16, 17}}) {
      Softmax s(1, 33, 1);
      for (int64_t k = 0; k < 33; ++k) s.score(0, k) = k < seen.begin || k >= seen.end ? kNan : 0.5F;
      s.Run(&seen);
      EXPECT_EQ(s.sum[0], static_cast<float>(seen.size()));
      EXPECT_EQ(s.max[0], seen.empty() ? -kInf : 0.5F);
      for (int64_t k = 0; k < 33; ++k) ASSERT_EQ(s.score(0, k), k < seen.begin || k >= seen.end ? 0 : 1) << k;
    }
  });
}

TEST(SimdTest, ARowThatSeesNothingKeepsItsState) {
  ForEachTarget([] {
    const KeyRange nothing{0, 0};
    Softmax s(1, 5, 1);
    s.max = {2};
    s.sum = {3};
    s.acc[0] = 4;
    for (int64_t k = 0; k < 5; ++k) s.score(0, k) = 100;
    s.Run(&nothing);
    EXPECT_EQ(s.max[0], 2);
    EXPECT_EQ(s.sum[0], 3);
    EXPECT_EQ(s.acc[0], 4);
  });
}

TEST(SimdTest, NanReachesTheSumFromAnyPlace) {
  ForEachTarget([] {
    for (int64_t bad = 0; bad < 33; ++bad) {
      Softmax s(1, 33, 1);
      for (int64_t k = 0; k < 33; ++k) s.score(0, k) = k == bad ? kNan : static_cast<float>(k);
      s.Run(nullptr);
      EXPECT_TRUE(std::isnan(s.sum[0])) << bad;
    }
  });
}

TEST(SimdTest, AccumulateVisibleAddsTheProductsOfSeenKeys) {
  ForEachTarget([] {
    Softmax s(2, 4, 3);
    const KeyRange visible[] = {{1, 3}, {0, 0}};
    for (int64_t k = 0; k < 4; ++k) s.score(0, k) = static_cast<float>(k);
    std::vector<float> value(20, kNan);
    for (size_t k = 1; k < 3; ++k) {
      for (size_t c = 0; c < 3; ++c) value[k * 5 + c] = static_cast<float>(10 * k + c);
    }
    AccumulateVisible({s.scores.data(), s.stride, 2, 4, visible}, value.data(), 5, 3,
                      {s.max.data(), s.sum.data(), s.acc.data(), s.acc_stride});
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(s.acc[c], 50 + 3 * static_cast<float>(c));
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(s.acc[static_cast<size_t>(s.acc_stride) + c], 0);
  });
}

TEST(SimdTest, WeightsRowIsTheQuotientAndStopsAtItsEnd) {
  ForEachTarget([] {
    Random random(9);
    for (int64_t keys = 1; keys <= 50; ++keys) {
      Softmax s(1, keys, 1);
      for (int64_t k = 0; k < keys; ++k) s.score(0, k) = -5 * random.Uniform();
      std::vector<float> weights(static_cast<size_t>(keys) + 1, 7);
      WeightsRow(s.scores.data(), keys, 1, 4, weights.data());
      for (int64_t k = 0; k < keys; ++k) {
        const double exact = std::exp(static_cast<double>(s.score(0, k)) - 1) / 4;
        ASSERT_NEAR(weights[static_cast<size_t>(k)], exact, exact * kExpError);
      }
      EXPECT_EQ(weights.back(), 7);
    }
  });
}

}  // namespace
}  // namespace attnd::simd
