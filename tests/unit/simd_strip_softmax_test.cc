// The running softmax of strips, and what the bits of a row depend on, in every instruction
// set this machine has.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
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
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kExpError = 0x1p-22;

// Scores of a strip and a state, as if nothing had been seen.
struct Softmax {
  Softmax(int64_t strip_width, int64_t key_count)
      : width(strip_width), keys(key_count), scores(keys * width), max(width, -kInf), sum(width), alpha(width, kNan) {}

  float& score(int64_t k, int64_t r) { return scores[k * width + r]; }
  [[nodiscard]] float score(int64_t k, int64_t r) const { return scores[k * width + r]; }
  void Run() {
    GuardedFloats block_max(width, -kInf);
    StripMax(width, keys, scores, block_max);
    StripSoftmax(width, keys, block_max, scores, {max, sum, alpha});
  }
  [[nodiscard]] bool intact() const { return scores.intact() && max.intact() && sum.intact() && alpha.intact(); }

  int64_t width;
  int64_t keys;
  GuardedFloats scores;
  GuardedFloats max;
  GuardedFloats sum;
  GuardedFloats alpha;
};

template <typename Body>
void ForEachWidth(const Body& body) {
  ForEachTarget([&body] {
    for (const int64_t width : StripWidths()) {
      SCOPED_TRACE(testing::Message() << "width " << width);
      body(width);
    }
  });
}

TEST(SimdStripSoftmaxTest, FollowsItsDefinition) {
  ForEachWidth([](int64_t width) {
    Random random(1);
    for (const int64_t keys : StripLengths()) {
      Softmax s(width, keys);
      for (int64_t i = 0; i < s.scores.size(); ++i) s.scores[i] = 10 * random.Normal();
      // Rows that have seen nothing, less, or more than what comes now.
      for (int64_t r = 0; r < width; ++r) {
        if (r % 3 == 0) continue;
        s.max[r] = r % 3 == 1 ? -50 : 50;
        s.sum[r] = 1.5F;
      }
      const Softmax before = s;
      s.Run();
      for (int64_t r = 0; r < width; ++r) {
        float max = before.max[r];
        for (int64_t k = 0; k < keys; ++k) max = std::max(max, before.score(k, r));
        ASSERT_EQ(s.max[r], max);
        const double alpha = std::exp(static_cast<double>(before.max[r] - max));
        ASSERT_NEAR(s.alpha[r], alpha, alpha * kExpError + 0x1p-126);
        double sum = alpha * before.sum[r];
        for (int64_t k = 0; k < keys; ++k) {
          const double p = std::exp(static_cast<double>(before.score(k, r) - max));
          ASSERT_NEAR(s.score(k, r), p, p * kExpError + 0x1p-126) << "row " << r << " key " << k << " of " << keys;
          sum += p;
        }
        ASSERT_NEAR(s.sum[r], sum, sum * (kExpError + static_cast<double>(keys + 2) * 0x1p-24));
      }
      ASSERT_TRUE(s.intact());
    }
  });
}

TEST(SimdStripSoftmaxTest, ExpIsAccurateOverItsWholeRange) {
  ForEachTarget([] {
    const int64_t width = FullStripWidth();
    constexpr int64_t kKeys = 512;
    double worst = 0;
    float at = 0;
    // Every 2^-11 or so: steps that no power of two divides.
    for (float from = 0; from < 88; from += 0.4871F) {
      Softmax s(width, kKeys);
      for (int64_t i = width; i < s.scores.size(); ++i) {
        s.scores[i] = -from - 0.4871F * static_cast<float>(i) / static_cast<float>(s.scores.size());
      }
      const Softmax before = s;
      s.Run();
      for (int64_t i = 0; i < s.scores.size(); ++i) {
        // Below, results are denormal or 0.
        if (before.scores[i] < -87.3F) continue;
        const double exact = std::exp(static_cast<double>(before.scores[i]));
        const double error = std::abs(s.scores[i] - exact) / exact;
        if (error <= worst) continue;
        worst = error;
        at = before.scores[i];
      }
    }
    EXPECT_LE(worst, kExpError) << "2^" << std::log2(worst) << " at " << at;
    EXPECT_GT(worst, 0);
  });
}

TEST(SimdStripSoftmaxTest, ExpAtTheEndsOfItsRange) {
  ForEachWidth([](int64_t width) {
    const float far[] = {-88.1F, -100, -1e4F, -3e38F, -kInf};
    const float near[] = {0, -0.0F, -0x1p-149F, -0x1p-30F};
    Softmax s(width, 9);
    for (int64_t r = 0; r < width; ++r) {
      for (int64_t k = 0; k < 4; ++k) s.score(k, r) = near[k];
      for (int64_t k = 0; k < 5; ++k) s.score(4 + k, r) = far[k];
    }
    s.Run();
    for (int64_t r = 0; r < width; ++r) {
      for (int64_t k = 0; k < 4; ++k) EXPECT_EQ(s.score(k, r), 1) << near[k];
      for (int64_t k = 0; k < 5; ++k) {
        EXPECT_EQ(s.score(4 + k, r), 0) << far[k];
        EXPECT_FALSE(std::signbit(s.score(4 + k, r)));
      }
      EXPECT_EQ(s.sum[r], 4);
    }
  });
}

// Where results leave the normal numbers they may become 0, but nothing in between.
TEST(SimdStripSoftmaxTest, ExpBesideTheSmallestNormalNumber) {
  ForEachTarget([] {
    const int64_t width = FullStripWidth();
    Softmax s(width, 200);
    for (int64_t i = width; i < s.scores.size(); ++i) {
      s.scores[i] = -87.25F - static_cast<float>(i) / static_cast<float>(s.scores.size());
    }
    const Softmax before = s;
    s.Run();
    for (int64_t i = width; i < s.scores.size(); ++i) {
      const double exact = std::exp(static_cast<double>(before.scores[i]));
      if (s.scores[i] == 0 && exact < 0x1p-126) continue;
      ASSERT_NEAR(s.scores[i], exact, exact * 0x1p-21) << before.scores[i];
    }
  });
}

TEST(SimdStripSoftmaxTest, CarriesTheStateForward) {
  ForEachWidth([](int64_t width) {
    for (const int64_t keys : {1, 2, 8, 9}) {
      Softmax s(width, keys);
      for (int64_t r = 0; r < width; ++r) {
        s.max[r] = r % 2 == 0 ? 1 : 50;
        s.sum[r] = 2;
        for (int64_t k = 0; k < keys; ++k) s.score(k, r) = k == keys - 1 ? 3 : -200;
      }
      s.Run();
      for (int64_t r = 0; r < width; ++r) {
        // Every second row meets a larger score.
        const bool rises = r % 2 == 0;
        EXPECT_EQ(s.max[r], rises ? 3 : 50);
        EXPECT_NEAR(s.alpha[r], rises ? std::exp(-2.0) : 1, rises ? 1e-7 : 0);
        EXPECT_NEAR(s.sum[r], rises ? 2 * std::exp(-2.0) + 1 : 2, rises ? 1e-6 : 0);
        EXPECT_NEAR(s.score(keys - 1, r), rises ? 1 : std::exp(-47.0), rises ? 0 : 1e-26);
      }
    }
  });
}

TEST(SimdStripSoftmaxTest, MinusInfinityHasNoWeight) {
  ForEachWidth([](int64_t width) {
    for (const int64_t keys : {1, 2, 3, 16, 17}) {
      for (const float old_max : {-kInf, 2.0F}) {
        Softmax s(width, keys);
        std::fill_n(s.scores.data(), s.scores.size(), -kInf);
        std::fill_n(s.max.data(), width, old_max);
        std::fill_n(s.sum.data(), width, old_max == 2 ? 3.0F : 0.0F);
        // One row sees one key.
        const int64_t one = width / 2;
        s.score(keys - 1, one) = 1;
        s.Run();
        for (int64_t r = 0; r < width; ++r) {
          const bool seen_before = old_max == 2;
          if (r == one) {
            EXPECT_EQ(s.max[r], seen_before ? 2 : 1);
            EXPECT_NEAR(s.sum[r], seen_before ? 3 + std::exp(-1.0) : 1, seen_before ? 1e-6 : 0);
          } else {
            // The state is as before.
            EXPECT_EQ(s.max[r], old_max);
            EXPECT_EQ(s.sum[r], seen_before ? 3 : 0);
            EXPECT_EQ(s.alpha[r], seen_before ? 1 : 0);
          }
          for (int64_t k = 0; k < keys - (r == one ? 1 : 0); ++k) {
            EXPECT_EQ(std::bit_cast<uint32_t>(s.score(k, r)), 0U) << r << " " << k;
          }
        }
      }
    }
  });
}

TEST(SimdStripSoftmaxTest, NanReachesTheSumFromAnyPlaceAndStays) {
  ForEachWidth([](int64_t width) {
    constexpr int64_t kKeys = 13;
    for (const float other : {-kInf, 1.0F, -300.0F}) {
      for (int64_t bad = 0; bad < kKeys; ++bad) {
        Softmax s(width, kKeys);
        std::fill_n(s.scores.data(), s.scores.size(), other);
        s.score(bad, bad % width) = kNan;
        s.Run();
        for (int64_t r = 0; r < width; ++r) {
          EXPECT_EQ(std::isnan(s.sum[r]), r == bad % width) << "key " << bad << " among " << other;
          EXPECT_EQ(s.max[r], other);
        }
        EXPECT_TRUE(std::isnan(s.score(bad, bad % width)));
        std::fill_n(s.scores.data(), s.scores.size(), 2.0F);
        s.Run();
        EXPECT_TRUE(std::isnan(s.sum[bad % width]));
      }
    }
  });
}

TEST(SimdStripSoftmaxTest, AScoreOfInfinityMakesTheSumNanForGood) {
  ForEachWidth([](int64_t width) {
    Softmax s(width, 5);
    for (int64_t k = 0; k < 5; ++k) s.score(k, 0) = k == 3 ? kInf : 1;
    s.Run();
    EXPECT_EQ(s.max[0], kInf);
    EXPECT_TRUE(std::isnan(s.sum[0]));
    EXPECT_EQ(s.score(1, 0), 0);
    for (int64_t r = 1; r < width; ++r) EXPECT_EQ(s.sum[r], 5);
    std::fill_n(s.scores.data(), s.scores.size(), 1.0F);
    s.Run();
    EXPECT_TRUE(std::isnan(s.sum[0]));
    for (int64_t r = 1; r < width; ++r) EXPECT_TRUE(std::isfinite(s.sum[r]));
  });
}

// One row of a problem of two blocks of keys, and all that is computed of it.
struct RowProblem {
  static constexpr int64_t kDim = 21;
  static constexpr int64_t kValueDim = 11;
  static constexpr int64_t kKeys = 40;
  static constexpr int64_t kBlocks = 2;

  explicit RowProblem(uint64_t seed) : query(kDim), key(kBlocks * kKeys * kDim), value(kBlocks * kKeys * kValueDim) {
    Random random(seed);
    for (auto* floats : {&query, &key, &value}) {
      for (float& x : *floats) x = random.Normal();
    }
  }

  // Bits of weights, sums, factors and products of the row in column `column` of a strip,
  // among other rows that `neighbours` determines. Every block has `hidden_before` keys before it
  // and `hidden_behind` behind it that the row does not see.
  [[nodiscard]] std::vector<uint32_t> Run(int64_t width, int64_t column, uint64_t neighbours, int64_t hidden_before,
                                          int64_t hidden_behind) const {
    Random random(neighbours);
    GuardedFloats strip(kDim * width);
    for (int64_t i = 0; i < strip.size(); ++i) strip[i] = random.Below(50) == 0 ? kNan : random.Normal();
    for (int64_t i = 0; i < kDim; ++i) strip[i * width + column] = query[static_cast<size_t>(i)];
    const int64_t all = hidden_before + kKeys + hidden_behind;
    std::vector<float> keys(static_cast<size_t>(all * kDim), 3);
    std::vector<float> values(static_cast<size_t>(all * kValueDim), 5);
    GuardedFloats scores(all * width);
    GuardedFloats max(width, -kInf);
    GuardedFloats sum(width);
    GuardedFloats alpha(width);
    GuardedFloats acc(kValueDim * width, kNan);
    std::vector<uint32_t> bits;
    const auto report = [&](const GuardedFloats& floats, int64_t row) {
      bits.push_back(std::bit_cast<uint32_t>(floats[row * width + column]));
    };
    for (int64_t block = 0; block < kBlocks; ++block) {
      std::copy_n(key.begin() + block * kKeys * kDim, kKeys * kDim, keys.begin() + hidden_before * kDim);
      std::copy_n(value.begin() + block * kKeys * kValueDim, kKeys * kValueDim,
                  values.begin() + hidden_before * kValueDim);
      GuardedFloats ignored(width);
      GuardedFloats block_max(width, -kInf);
      StripScores(strip, width, kDim, 0.3F, {keys.data(), kDim}, all, scores, ignored);
      alignas(64) int32_t begin[kMaxStripWidth] = {};
      alignas(64) int32_t end[kMaxStripWidth] = {};
      for (int64_t r = 0; r < width; ++r) {
        begin[r] = static_cast<int32_t>(random.Below(all));
        end[r] = static_cast<int32_t>(random.Below(all + 1));
      }
      begin[column] = static_cast<int32_t>(hidden_before);
      end[column] = static_cast<int32_t>(hidden_before + kKeys);
      StripHideOutside(begin, end, width, 0, all, scores, block_max);
      StripSoftmax(width, all, block_max, scores, {max, sum, alpha});
      StripAddValues(scores, width, all, {values.data(), kValueDim}, kValueDim, block == 0 ? nullptr : alpha.data(),
                     acc);
      for (int64_t k = 0; k < kKeys; ++k) report(scores, hidden_before + k);
      for (const GuardedFloats* state : {&max, &sum, &alpha}) report(*state, 0);
    }
    for (int64_t c = 0; c < kValueDim; ++c) report(acc, c);
    return bits;
  }

  std::vector<float> query;
  std::vector<float> key;
  std::vector<float> value;
};

TEST(SimdStripBitsTest, ARowsBitsDependOnTheRowAlone) {
  ForEachTarget([] {
    const RowProblem problem(7);
    const std::vector<uint32_t> expected = problem.Run(StripWidths().front(), 0, 1, 0, 0);
    for (const int64_t width : StripWidths()) {
      for (int64_t column = 0; column < width; ++column) {
        for (const uint64_t neighbours : {2U, 3U}) {
          ASSERT_EQ(problem.Run(width, column, neighbours, 0, 0), expected) << column << " of " << width;
        }
      }
    }
  });
}

// As tiles align their runs of keys: an even number of keys that the row does not see before
// it, any number behind.
TEST(SimdStripBitsTest, KeysThatARowDoesNotSeeDoNotMatter) {
  ForEachTarget([] {
    const RowProblem problem(8);
    const int64_t width = FullStripWidth();
    const std::vector<uint32_t> expected = problem.Run(width, 0, 1, 0, 0);
    for (const int64_t before : {0, 2, 8, 16, 26}) {
      for (const int64_t behind : {0, 1, 2, 3, 8, 17}) {
        ASSERT_EQ(problem.Run(width, width - 1, 2, before, behind), expected) << before << " before, " << behind;
      }
    }
  });
}

// Runs of any length: which keys share a block of registers must not matter.
TEST(SimdStripBitsTest, ScoresInSeveralRunsHaveTheBitsOfOne) {
  ForEachWidth([](int64_t width) {
    constexpr int64_t kKeys = 45;
    constexpr int64_t kDim = 19;
    Random random(9);
    std::vector<float> key(kKeys * kDim);
    for (float& x : key) x = random.Normal();
    GuardedFloats query(kDim * width);
    for (int64_t i = 0; i < query.size(); ++i) query[i] = random.Normal();
    GuardedFloats whole(kKeys * width);
    GuardedFloats whole_max(width, -kInf);
    StripScores(query, width, kDim, 0.7F, {key.data(), kDim}, kKeys, whole, whole_max);
    for (int64_t cut = 1; cut < kKeys; ++cut) {
      GuardedFloats scores(kKeys * width);
      GuardedFloats max(width, -kInf);
      StripScores(query, width, kDim, 0.7F, {key.data(), kDim}, cut, scores, max);
      StripScores(query, width, kDim, 0.7F, {key.data() + cut * kDim, kDim}, kKeys - cut, scores + cut * width, max);
      for (int64_t i = 0; i < scores.size(); ++i) ASSERT_EQ(scores[i], whole[i]) << i << " cut at " << cut;
      for (int64_t r = 0; r < width; ++r) ASSERT_EQ(max[r], whole_max[r]);
    }
  });
}

}  // namespace
}  // namespace attnd::simd
