// Products, hiding and maxima of strips, in every instruction set this machine has.
#include "core/attention/simd_strip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "tests/support/guarded.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strip_widths.h"

namespace attnd::simd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void FillNormal(GuardedFloats& floats, Random& random) {
  for (int64_t i = 0; i < floats.size(); ++i) floats[i] = random.Normal();
}

// The larger of the two; NaN does not count.
float Larger(float a, float b) { return std::isnan(b) || a > b ? a : b; }

// Runs `body(width)` for every width of every instruction set.
template <typename Body>
void ForEachWidth(const Body& body) {
  ForEachTarget([&body] {
    for (const int64_t width : StripWidths()) {
      SCOPED_TRACE(testing::Message() << "width " << width);
      body(width);
    }
  });
}

// Tokens of a head: rows apart by more than they hold, and aligned to nothing but floats.
struct Tokens {
  Tokens(int64_t tokens, int64_t dim, int64_t gap, int64_t misalign)
      : floats((tokens - 1) * (dim + gap) + dim, kNan, misalign), stride(dim + gap), count(tokens), width(dim) {}

  void Fill(Random& random) {
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t i = 0; i < width; ++i) at(k, i) = random.Normal();
    }
  }
  float& at(int64_t k, int64_t i) { return floats[k * stride + i]; }
  [[nodiscard]] FloatRows rows() const { return {floats.data(), stride}; }

  GuardedFloats floats;
  int64_t stride;
  int64_t count;
  int64_t width;
};

// Pairs of lengths: all of either with one of the other, and large ones together.
template <typename Body>
void ForEachPair(const Body& body) {
  for (const int64_t n : StripLengths()) {
    body(n, 13);
    body(7, n);
  }
  for (const int64_t n : {64, 257}) {
    for (const int64_t m : {31, 128}) body(n, m);
  }
}

TEST(SimdStripTest, WidthsAreTheLeastThatHoldTheirRows) {
  ForEachTarget([] {
    const std::vector<int64_t> widths = StripWidths();
    EXPECT_EQ(widths.back(), FullStripWidth());
    EXPECT_LE(widths.back(), kMaxStripWidth);
    for (int64_t rows = 1; rows <= FullStripWidth(); ++rows) {
      EXPECT_EQ(StripWidth(rows), *std::lower_bound(widths.begin(), widths.end(), rows));
    }
  });
}

TEST(SimdStripTest, ScoresAreScaledProducts) {
  ForEachWidth([](int64_t width) {
    Random random(1);
    ForEachPair([&](int64_t dim, int64_t keys) {
      Tokens key(keys, dim, (dim + keys) % 4, dim % 3);
      key.Fill(random);
      GuardedFloats query(dim * width);
      FillNormal(query, random);
      GuardedFloats scores(keys * width, kNan);
      GuardedFloats max(width, -kInf);
      // Some have seen larger scores than any here.
      for (int64_t r = 0; r < width; r += 3) max[r] = static_cast<float>(r) - 4;
      const GuardedFloats old_max = max;
      const float scale = dim % 2 == 0 ? 0.125F : -1.7F;
      StripScores(query, width, dim, scale, key.rows(), keys, scores, max);
      for (int64_t r = 0; r < width; ++r) {
        float largest = old_max[r];
        for (int64_t k = 0; k < keys; ++k) {
          double sum = 0;
          double magnitude = 0;
          for (int64_t i = 0; i < dim; ++i) {
            const double product = static_cast<double>(key.at(k, i)) * query[i * width + r];
            sum += product;
            magnitude += std::abs(product);
          }
          const double tolerance = std::abs(scale) * magnitude * static_cast<double>(dim + 1) * 0x1p-24;
          ASSERT_NEAR(scores[k * width + r], scale * sum, tolerance) << "row " << r << " key " << k << " dim " << dim;
          largest = std::max(largest, scores[k * width + r]);
        }
        ASSERT_EQ(max[r], largest) << "row " << r << " of " << keys << " keys";
      }
      ASSERT_TRUE(scores.intact() && max.intact() && query.intact());
    });
  });
}

TEST(SimdStripTest, TheScaleComesAfterTheSum) {
  ForEachWidth([](int64_t width) {
    GuardedFloats query(2 * width, 1e19F);
    const float key[] = {1e19F, 1e19F};
    GuardedFloats scores(width);
    GuardedFloats max(width, -kInf);
    StripScores(query, width, 2, 1e-38F, {key, 2}, 1, scores, max);
    for (int64_t r = 0; r < width; ++r) {
      ASSERT_NEAR(scores[r], 2, 1e-5);
      ASSERT_EQ(max[r], scores[r]);
    }
  });
}

TEST(SimdStripTest, ScoresOfNanDoNotCountForTheMaximum) {
  ForEachWidth([](int64_t width) {
    constexpr int64_t kDim = 5;
    for (const int64_t keys : {1, 7, 8, 12, 13, 29}) {
      for (int64_t bad = 0; bad < keys; ++bad) {
        Tokens key(keys, kDim, 1, 1);
        for (int64_t k = 0; k < keys; ++k) {
          for (int64_t i = 0; i < kDim; ++i) key.at(k, i) = static_cast<float>(k);
        }
        key.at(bad, bad % kDim) = kNan;
        GuardedFloats query(kDim * width, 1);
        const int64_t bad_row = bad % width;
        query[2 * width + bad_row] = kNan;
        GuardedFloats scores(keys * width);
        GuardedFloats max(width, -3);
        StripScores(query, width, kDim, 1, key.rows(), keys, scores, max);
        for (int64_t r = 0; r < width; ++r) {
          float largest = -3;
          for (int64_t k = 0; k < keys; ++k) {
            const bool poisoned = r == bad_row || k == bad;
            ASSERT_EQ(std::isnan(scores[k * width + r]), poisoned) << "row " << r << " key " << k;
            if (!poisoned) largest = std::max(largest, static_cast<float>(kDim * k));
          }
          ASSERT_EQ(max[r], largest) << r;
        }
      }
    }
  });
}

TEST(SimdStripTest, InfiniteScoresCountForTheMaximum) {
  ForEachWidth([](int64_t width) {
    const float key[] = {1, -kInf, kInf, 2};
    GuardedFloats query(width);
    for (int64_t r = 0; r < width; ++r) query[r] = r % 2 == 0 ? 1 : -1;
    GuardedFloats scores(4 * width);
    GuardedFloats max(width, -kInf);
    StripScores(query, width, 1, 1, {key, 1}, 2, scores, max);
    for (int64_t r = 0; r < width; ++r) EXPECT_EQ(max[r], r % 2 == 0 ? 1 : kInf);
    std::fill_n(max.data(), width, -kInf);
    StripScores(query, width, 1, 1, {key, 1}, 4, scores, max);
    for (int64_t r = 0; r < width; ++r) EXPECT_EQ(max[r], kInf);
    // Of -inf alone it stays as it was.
    std::fill_n(max.data(), width, -kInf);
    std::fill_n(query.data(), width, 1.0F);
    StripScores(query, width, 1, 1, {key + 1, 1}, 1, scores, max);
    for (int64_t r = 0; r < width; ++r) EXPECT_EQ(max[r], -kInf);
  });
}

// Scores [keys, width] of any numbers, NaN and infinities among them.
GuardedFloats AnyScores(int64_t keys, int64_t width, Random& random) {
  GuardedFloats scores(keys * width);
  const float special[] = {kNan, kInf, -kInf, 0};
  for (int64_t i = 0; i < scores.size(); ++i) {
    scores[i] = random.Below(5) == 0 ? special[random.Below(4)] : random.Normal();
  }
  return scores;
}

// Checks that what `seen(r, k)` denies became -inf, the rest kept its bits, and max[r] rose from
// `old_max` to the largest seen.
template <typename Seen>
void CheckHidden(const GuardedFloats& before, const GuardedFloats& scores, const GuardedFloats& old_max,
                 const GuardedFloats& max, const Seen& seen) {
  const int64_t width = max.size();
  for (int64_t r = 0; r < width; ++r) {
    float largest = old_max[r];
    for (int64_t k = 0; k < scores.size() / width; ++k) {
      const int64_t at = k * width + r;
      const float expected = seen(r, k) ? before[at] : -kInf;
      ASSERT_EQ(std::bit_cast<uint32_t>(scores[at]), std::bit_cast<uint32_t>(expected)) << "row " << r << " key " << k;
      largest = Larger(largest, expected);
    }
    ASSERT_EQ(max[r], largest) << "row " << r;
  }
  ASSERT_TRUE(scores.intact() && max.intact());
}

TEST(SimdStripTest, ScoresOutsideTheRangesAreHidden) {
  ForEachWidth([](int64_t width) {
    Random random(2);
    for (const int64_t keys : StripLengths()) {
      for (const int64_t first : {int64_t{0}, int64_t{3}, int64_t{1000}}) {
        alignas(64) int32_t begin[kMaxStripWidth];
        alignas(64) int32_t end[kMaxStripWidth];
        for (int64_t r = 0; r < width; ++r) {
          // Some begin before the keys, some end behind them, some are empty.
          const int64_t from = first + random.Below(keys + 4) - 2;
          const int64_t to = from + random.Below(4) * random.Below(keys + 1) / 2;
          begin[r] = static_cast<int32_t>(from);
          end[r] = static_cast<int32_t>(to);
          if (r % 7 == 0) begin[r] = end[r] = static_cast<int32_t>(first + keys);
          if (r % 7 == 1) begin[r] = end[r] = 0;
          if (r % 7 == 2) end[r] = std::numeric_limits<int32_t>::max();
          if (r % 7 == 2) begin[r] = 0;
        }
        GuardedFloats scores = AnyScores(keys, width, random);
        const GuardedFloats before = scores;
        GuardedFloats max(width, -kInf);
        for (int64_t r = 0; r < width; r += 2) max[r] = 0.5F;
        const GuardedFloats old_max = max;
        StripHideOutside(begin, end, width, first, keys, scores, max);
        CheckHidden(before, scores, old_max, max,
                    [&](int64_t r, int64_t k) { return begin[r] <= first + k && first + k < end[r]; });
      }
    }
  });
}

TEST(SimdStripTest, ScoresWithoutABitAreHidden) {
  ForEachWidth([](int64_t width) {
    Random random(3);
    for (const int64_t keys : StripLengths()) {
      for (const uint64_t fill : {uint64_t{1}, uint64_t{0}, ~uint64_t{0}}) {
        std::vector<uint32_t> bits(static_cast<size_t>((keys + 31) / 32 * width));
        for (uint32_t& word : bits) word = static_cast<uint32_t>(fill == 1 ? random.Bits() : fill);
        GuardedFloats scores = AnyScores(keys, width, random);
        const GuardedFloats before = scores;
        GuardedFloats max(width, -kInf);
        for (int64_t r = 0; r < width; r += 2) max[r] = 0.5F;
        const GuardedFloats old_max = max;
        StripHideByBits(bits.data(), width, keys, scores, max);
        CheckHidden(before, scores, old_max, max, [&](int64_t r, int64_t k) {
          return (bits[static_cast<size_t>(k / 32 * width + r)] >> (k % 32) & 1) != 0;
        });
      }
    }
  });
}

TEST(SimdStripTest, TheMaximumIsThatOfAllScores) {
  ForEachWidth([](int64_t width) {
    Random random(4);
    for (const int64_t keys : StripLengths()) {
      GuardedFloats scores = AnyScores(keys, width, random);
      const GuardedFloats before = scores;
      GuardedFloats max(width, -kInf);
      max[0] = 5;
      const GuardedFloats old_max = max;
      StripMax(width, keys, scores, max);
      CheckHidden(before, scores, old_max, max, [](int64_t, int64_t) { return true; });
    }
  });
}

TEST(SimdStripTest, WeightedValuesAreAdded) {
  ForEachWidth([](int64_t width) {
    Random random(5);
    ForEachPair([&](int64_t dim, int64_t keys) {
      Tokens value(keys, dim, (dim + keys) % 4, keys % 3);
      value.Fill(random);
      GuardedFloats p(keys * width);
      for (int64_t i = 0; i < p.size(); ++i) p[i] = random.Below(4) == 0 ? 0 : random.Uniform();
      GuardedFloats alpha(width);
      for (int64_t r = 0; r < width; ++r) alpha[r] = static_cast<float>(r % 3) * 0.4F;
      GuardedFloats acc(dim * width);
      FillNormal(acc, random);
      const GuardedFloats before = acc;
      // Nothing there: it must not be read.
      GuardedFloats fresh(dim * width, kNan);
      StripAddValues(p, width, keys, value.rows(), dim, alpha, acc);
      StripAddValues(p, width, keys, value.rows(), dim, nullptr, fresh);
      for (int64_t r = 0; r < width; ++r) {
        for (int64_t c = 0; c < dim; ++c) {
          const int64_t at = c * width + r;
          double sum = 0;
          double magnitude = 0;
          for (int64_t k = 0; k < keys; ++k) {
            const double product = static_cast<double>(value.at(k, c)) * p[k * width + r];
            sum += product;
            magnitude += std::abs(product);
          }
          const double old = static_cast<double>(alpha[r]) * before[at];
          const double rounding = static_cast<double>(keys + 1) * 0x1p-24;
          ASSERT_NEAR(fresh[at], sum, magnitude * rounding) << "row " << r << " column " << c << " keys " << keys;
          ASSERT_NEAR(acc[at], old + sum, (magnitude + std::abs(old)) * rounding) << "row " << r << " column " << c;
        }
      }
      ASSERT_TRUE(acc.intact() && fresh.intact() && p.intact());
    });
  });
}

// The running sum over several blocks is the sum over one: keys go to it one by one.
TEST(SimdStripTest, ValuesInSeveralRunsGiveTheBitsOfOne) {
  ForEachWidth([](int64_t width) {
    constexpr int64_t kKeys = 45;
    constexpr int64_t kDim = 19;
    Random random(6);
    Tokens value(kKeys, kDim, 2, 1);
    value.Fill(random);
    GuardedFloats p(kKeys * width);
    FillNormal(p, random);
    GuardedFloats whole(kDim * width);
    StripAddValues(p, width, kKeys, value.rows(), kDim, nullptr, whole);
    const GuardedFloats one(width, 1);
    for (int64_t cut = 1; cut < kKeys; ++cut) {
      GuardedFloats acc(kDim * width, kNan);
      StripAddValues(p, width, cut, value.rows(), kDim, nullptr, acc);
      StripAddValues(p + cut * width, width, kKeys - cut, {value.rows().row(cut), value.stride}, kDim, one, acc);
      for (int64_t i = 0; i < acc.size(); ++i) ASSERT_EQ(acc[i], whole[i]) << i << " cut at " << cut;
    }
  });
}

TEST(SimdStripTest, WhatIsNeededSoonDoesNotMatter) {
  ForEachWidth([](int64_t width) {
    constexpr int64_t kKeys = 37;
    constexpr int64_t kDim = 19;
    Random random(7);
    Tokens tokens(kKeys, kDim, 0, 0);
    tokens.Fill(random);
    GuardedFloats query(kDim * width);
    FillNormal(query, random);
    const std::vector<float> soon(kKeys * kDim, kNan);
    GuardedFloats scores(kKeys * width);
    GuardedFloats max(width, -kInf);
    StripScores(query, width, kDim, 0.5F, tokens.rows(), kKeys, scores, max);
    GuardedFloats again(kKeys * width);
    StripScores(query, width, kDim, 0.5F, tokens.rows(), kKeys, again, max, soon.data());
    for (int64_t i = 0; i < scores.size(); ++i) ASSERT_EQ(again[i], scores[i]);
    GuardedFloats acc(kDim * width);
    GuardedFloats acc_again(kDim * width);
    StripAddValues(scores, width, kKeys, tokens.rows(), kDim, nullptr, acc);
    StripAddValues(scores, width, kKeys, tokens.rows(), kDim, nullptr, acc_again, soon.data());
    for (int64_t i = 0; i < acc.size(); ++i) ASSERT_EQ(acc_again[i], acc[i]);
  });
}

TEST(SimdStripTest, RowsAreDividedByTheirSums) {
  ForEachWidth([](int64_t width) {
    Random random(8);
    for (const int64_t dim : StripLengths()) {
      GuardedFloats acc(dim * width);
      FillNormal(acc, random);
      const GuardedFloats before = acc;
      GuardedFloats keep(width);
      GuardedFloats sum(width);
      for (int64_t r = 0; r < width; ++r) {
        // Empty rows among others.
        if (r % 5 == 3) continue;
        keep[r] = r % 2 == 0 ? 1 : random.Uniform() + 0.01F;
        sum[r] = std::ldexp(1 + random.Uniform(), static_cast<int>(random.Below(200)) - 100);
      }
      EXPECT_EQ(StripDivide(keep, sum, width, dim, acc), 0U);
      for (int64_t r = 0; r < width; ++r) {
        for (int64_t c = 0; c < dim; ++c) {
          const int64_t at = c * width + r;
          const double exact = r % 5 == 3 ? 0 : static_cast<double>(keep[r]) * before[at] / sum[r];
          ASSERT_NEAR(acc[at], exact, std::abs(exact) * 0x1p-22) << "row " << r << " column " << c;
        }
      }
      ASSERT_TRUE(acc.intact() && keep.intact() && sum.intact());
    }
  });
}

TEST(SimdStripTest, RowsThatAreNotFiniteAreReported) {
  ForEachWidth([](int64_t width) {
    constexpr int64_t kDim = 9;
    const float huge = std::numeric_limits<float>::max();
    for (int64_t bad = 0; bad < width; ++bad) {
      for (const auto& [element, divisor, expected] : {std::tuple{kNan, 2.0F, kNan},
                                                       {kInf, 2.0F, kInf},
                                                       {-kInf, 2.0F, -kInf},
                                                       {1.0F, kNan, kNan},
                                                       {huge, 0x1p-3F, kInf},
                                                       {-huge, 0x1p-100F, -kInf}}) {
        GuardedFloats acc(kDim * width, 6);
        GuardedFloats keep(width, 1);
        GuardedFloats sum(width, 3);
        const int64_t at = bad % kDim * width + bad;
        acc[at] = element;
        sum[bad] = divisor;
        EXPECT_EQ(StripDivide(keep, sum, width, kDim, acc), uint64_t{1} << bad) << element << " / " << divisor;
        EXPECT_TRUE(std::isnan(expected) ? std::isnan(acc[at]) : acc[at] == expected) << acc[at];
        for (int64_t i = 0; i < acc.size(); ++i) {
          ASSERT_TRUE(i % width == bad || acc[i] == 2) << acc[i];
        }
        // An empty row is 0 and finite, whatever is there.
        acc[at] = element;
        keep[bad] = 0;
        sum[bad] = 0;
        EXPECT_EQ(StripDivide(keep, sum, width, kDim, acc), 0U);
        EXPECT_EQ(acc[at], 0);
      }
    }
  });
}

TEST(SimdStripTest, WithoutKeysThereIsNothingToDo) {
  ForEachWidth([](int64_t width) {
    GuardedFloats query(width, 1);
    GuardedFloats max(width, 3);
    GuardedFloats scores(0);
    StripScores(query, width, 1, 1, {nullptr, 1}, 0, scores, max);
    StripMax(width, 0, scores, max);
    GuardedFloats acc(width, 4);
    GuardedFloats half(width, 0.5F);
    StripAddValues(scores, width, 0, {nullptr, 1}, 1, half, acc);
    for (int64_t r = 0; r < width; ++r) {
      EXPECT_EQ(max[r], 3);
      EXPECT_EQ(acc[r], 2);
    }
    StripAddValues(scores, width, 0, {nullptr, 1}, 1, nullptr, acc);
    for (int64_t r = 0; r < width; ++r) EXPECT_EQ(acc[r], 0);
    EXPECT_TRUE(scores.intact() && acc.intact() && max.intact());
  });
}

}  // namespace
}  // namespace attnd::simd
