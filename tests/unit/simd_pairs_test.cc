// Products of strips of 8 rows, in every instruction set of this machine that computes them in pairs.
#include "core/attention/simd_pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/attention/simd_rows.h"
#include "tests/support/guarded.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strip_widths.h"

namespace attnd::simd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kRows = kPairWidth;

// Runs `body(dtype)` for every type of tokens and every instruction set that has pairs.
template <typename Body>
void ForEachType(const Body& body) {
  ForEachTarget([&body] {
    if (!InPairs(kPairWidth)) return;
    for (const DataType dtype : {DataType::kFloat32, DataType::kBfloat16}) {
      ASSERT_TRUE(PairsRead(dtype));
      SCOPED_TRACE(dtype == DataType::kFloat32 ? "float32" : "bfloat16");
      body(dtype);
    }
  });
}

// Tokens of a head, rows apart by more than they hold, that end where memory ends; and what
// they hold as floats.
struct Tokens {
  Tokens(DataType dtype, int64_t tokens, int64_t dim, int64_t gap)
      : type(dtype),
        stride(dim + gap),
        width(dim),
        count(tokens),
        bytes(static_cast<size_t>(((tokens - 1) * stride + dim) * ElementBytes(dtype))),
        floats(static_cast<size_t>(tokens * dim)) {}

  void Fill(Random& random) {
    for (int64_t k = 0; k < count; ++k) {
      for (int64_t i = 0; i < width; ++i) Set(k, i, random.Normal());
    }
  }
  void Set(int64_t k, int64_t i, float number) {
    std::byte* place = bytes.data() + (k * stride + i) * ElementBytes(type);
    StoreRow(&number, 1, type, place);
    LoadRow(place, type, 1, &floats[static_cast<size_t>(k * width + i)]);
  }
  [[nodiscard]] float at(int64_t k, int64_t i) const { return floats[static_cast<size_t>(k * width + i)]; }
  [[nodiscard]] TokenRows rows() const { return {bytes.data(), type, stride, width, count}; }

  DataType type;
  int64_t stride;
  int64_t width;
  int64_t count;
  std::vector<std::byte> bytes;
  std::vector<float> floats;
};

// A query strip, as it was and in pairs.
struct Query {
  Query(int64_t dim, Random& random) : strip(dim * kRows), pairs((dim + 1) / 2 * 2 * kRows, kNan) {
    for (int64_t i = 0; i < strip.size(); ++i) pairs[i] = strip[i] = random.Normal();
    StripToPairs(dim, pairs);
  }

  GuardedFloats strip;
  GuardedFloats pairs;
};

TEST(SimdPairsTest, OnlyStripsOfEightRowsAreInPairs) {
  ForEachTarget([] {
    const std::string target = TargetName();
    const bool vectors_of_eight = target == "AVX2" || target.starts_with("AVX3");
    for (const int64_t width : StripWidths()) {
      EXPECT_EQ(InPairs(width), vectors_of_eight && width == 8) << width;
    }
  });
}

TEST(SimdPairsTest, QueriesAreOrderedByTwo) {
  ForEachType([](DataType) {
    Random random(1);
    for (const int64_t dim : StripLengths()) {
      const Query query(dim, random);
      for (int64_t i = 0; i < (dim + 1) / 2 * 2; ++i) {
        for (int64_t r = 0; r < kRows; ++r) {
          const float expected = i < dim ? query.strip[i * kRows + r] : 0;
          ASSERT_EQ(query.pairs[i / 2 * 2 * kRows + 2 * r + i % 2], expected) << "row " << r << " element " << i;
        }
      }
      ASSERT_TRUE(query.pairs.intact());
    }
  });
}

TEST(SimdPairsTest, ScoresAreScaledProducts) {
  ForEachType([](DataType dtype) {
    Random random(2);
    for (const int64_t dim : StripLengths()) {
      for (const int64_t keys : {1, 5, 6, 7, 11, 12, 13, 25, 128}) {
        Tokens key(dtype, keys + 3, dim, (dim + keys) % 3);
        key.Fill(random);
        const Query query(dim, random);
        GuardedFloats scores(keys * kRows, kNan);
        GuardedFloats max(kRows, -kInf);
        // One has seen a larger score than any here.
        max[3] = 1e6F;
        const float scale = dim % 2 == 0 ? 0.125F : -1.7F;
        // Not from the first token on.
        PairScores(query.pairs, scale, key.rows(), 3, 3 + keys, scores, max, nullptr);
        for (int64_t r = 0; r < kRows; ++r) {
          float largest = r == 3 ? 1e6F : -kInf;
          for (int64_t k = 0; k < keys; ++k) {
            double sum = 0;
            double magnitude = 0;
            for (int64_t i = 0; i < dim; ++i) {
              const double product = static_cast<double>(key.at(3 + k, i)) * query.strip[i * kRows + r];
              sum += product;
              magnitude += std::abs(product);
            }
            const double tolerance = std::abs(scale) * magnitude * static_cast<double>(dim + 1) * 0x1p-24;
            ASSERT_NEAR(scores[k * kRows + r], scale * sum, tolerance) << "row " << r << " key " << k << " dim " << dim;
            largest = std::max(largest, scores[k * kRows + r]);
          }
          ASSERT_EQ(max[r], largest) << "row " << r << " of " << keys << " keys";
        }
        ASSERT_TRUE(scores.intact() && max.intact());
      }
    }
  });
}

TEST(SimdPairsTest, ScoresOfATokenDependOnNothingElse) {
  ForEachType([](DataType dtype) {
    Random random(3);
    constexpr int64_t kKeys = 40;
    for (const int64_t dim : {1, 7, 64, 129}) {
      Tokens key(dtype, kKeys, dim, 0);
      key.Fill(random);
      const Query query(dim, random);
      GuardedFloats together(kKeys * kRows);
      GuardedFloats max(kRows, -kInf);
      PairScores(query.pairs, 0.3F, key.rows(), 0, kKeys, together, max, nullptr);
      for (int64_t k = 0; k < kKeys; ++k) {
        GuardedFloats alone(kRows);
        PairScores(query.pairs, 0.3F, key.rows(), k, k + 1, alone, max, key.rows().base);
        for (int64_t r = 0; r < kRows; ++r) ASSERT_EQ(alone[r], together[k * kRows + r]);
      }
    }
  });
}

// An odd element has no neighbour, and what stands in for one must not make NaN of infinity.
TEST(SimdPairsTest, InfinityInALastElementStaysInfinite) {
  ForEachType([](DataType dtype) {
    Random random(4);
    for (const int64_t dim : {1, 5, 33}) {
      Tokens key(dtype, 13, dim, 0);
      key.Fill(random);
      for (int64_t k = 0; k < 13; ++k) key.Set(k, dim - 1, -kInf);
      Query query(dim, random);
      for (int64_t r = 0; r < kRows; ++r) query.pairs[(dim - 1) * kRows + 2 * r] = 2;
      GuardedFloats scores(13 * kRows);
      GuardedFloats max(kRows, -kInf);
      PairScores(query.pairs, 1, key.rows(), 0, 13, scores, max, nullptr);
      for (int64_t i = 0; i < scores.size(); ++i) ASSERT_EQ(scores[i], -kInf);
      for (int64_t r = 0; r < kRows; ++r) ASSERT_EQ(max[r], -kInf);
    }
  });
}

TEST(SimdPairsTest, ScoresOfNanDoNotCountForTheMaximum) {
  ForEachType([](DataType dtype) {
    Random random(5);
    for (int64_t bad = 0; bad < 13; ++bad) {
      Tokens key(dtype, 13, 5, 1);
      key.Fill(random);
      key.Set(bad, 4, kNan);
      const Query query(5, random);
      GuardedFloats scores(13 * kRows);
      GuardedFloats max(kRows, -kInf);
      PairScores(query.pairs, 1, key.rows(), 0, 13, scores, max, nullptr);
      for (int64_t r = 0; r < kRows; ++r) {
        float largest = -kInf;
        for (int64_t k = 0; k < 13; ++k) {
          const float score = scores[k * kRows + r];
          ASSERT_EQ(std::isnan(score), k == bad);
          if (k != bad) largest = std::max(largest, score);
        }
        ASSERT_EQ(max[r], largest);
      }
    }
  });
}

TEST(SimdPairsTest, ValuesAreWeightedAndAdded) {
  ForEachType([](DataType dtype) {
    Random random(6);
    for (const int64_t dim : StripLengths()) {
      for (const int64_t keys : {1, 2, 13, 128}) {
        Tokens value(dtype, keys + 2, dim, keys % 2);
        value.Fill(random);
        GuardedFloats p(keys * kRows);
        GuardedFloats alpha(kRows);
        GuardedFloats acc(dim * kRows);
        for (GuardedFloats* floats : {&p, &alpha, &acc}) {
          for (int64_t i = 0; i < floats->size(); ++i) (*floats)[i] = random.Normal();
        }
        const GuardedFloats before = acc;
        const bool first = dim % 3 == 0;
        if (first) std::fill_n(static_cast<float*>(acc), acc.size(), kNan);
        PairAddValues(p, value.rows(), 2, 2 + keys, first ? nullptr : static_cast<float*>(alpha), acc, nullptr);
        for (int64_t c = 0; c < dim; ++c) {
          for (int64_t r = 0; r < kRows; ++r) {
            double sum = first ? 0 : static_cast<double>(alpha[r]) * before[c * kRows + r];
            double magnitude = std::abs(sum);
            for (int64_t k = 0; k < keys; ++k) {
              const double product = static_cast<double>(p[k * kRows + r]) * value.at(2 + k, c);
              sum += product;
              magnitude += std::abs(product);
            }
            ASSERT_NEAR(acc[c * kRows + r], sum, magnitude * static_cast<double>(keys + 1) * 0x1p-24)
                << "row " << r << " column " << c << " of " << dim << ", " << keys << " keys";
          }
        }
        ASSERT_TRUE(acc.intact() && p.intact() && alpha.intact());
      }
    }
  });
}

}  // namespace
}  // namespace attnd::simd
