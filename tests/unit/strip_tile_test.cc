// What only the fused engine's strips can get wrong, in every instruction set this machine
// has: rows of one strip that see different keys, strips of every size, blocks cut anywhere.
#include "core/attention/strip_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/fused_engine.h"
#include "core/attention/simd_strip.h"
#include "core/attention/strip_rows.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/random_case.h"
#include "tests/support/request_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/tile_problem.h"

namespace attnd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

CaseTensor NormalTensor(std::vector<int64_t> shape, Random& random) {
  CaseTensor tensor{DataType::kFloat32, std::move(shape), {}};
  int64_t n = 1;
  for (const int64_t extent : tensor.shape) n *= extent;
  tensor.numbers.resize(static_cast<size_t>(n));
  for (float& x : tensor.numbers) x = random.Normal();
  return tensor;
}

RequestCase CaseWithWeights(const Dims& dims) {
  RequestCase c = NormalCase(dims);
  c.outputs = {.lse = true, .weights = WeightsOutput()};
  return c;
}

void UseOffset(RequestCase& c, int64_t q_offset) {
  c.options.alignment = Alignment::kOffset;
  c.options.q_offset = {q_offset};
  c.options.k_offset = {0};
}

// Keeps about `percent` of the pairs.
CaseMask RandomMask(const Dims& dims, int64_t heads, int64_t percent) {
  Random random(11);
  CaseMask mask{NormalTensor({1, heads, dims.q_len, dims.kv_len}, random), Polarity::kKeep};
  mask.tensor.dtype = DataType::kBool;
  for (float& x : mask.tensor.numbers) x = random.Below(100) < percent ? 1 : 0;
  return mask;
}

CaseResult RunFused(const RequestCase& c) { return RunCase(c, {.engine = EngineKind::kFused}); }

void CheckCase(const RequestCase& c) {
  const ExpectedResult expected = Expect(c);
  ForEachTarget([&] { EXPECT_TRUE(Matches(c, RunFused(c), expected)) << c.ToString(); });
}

TEST(StripTileTest, StripsOfEverySize) {
  for (int64_t q_len = 1; q_len <= 2 * simd::kMaxStripWidth + 1; q_len += kSanitized ? 7 : 1) {
    RequestCase c = CaseWithWeights({1, 1, 1, q_len, 90, 5, 3});
    CheckCase(c);
    UseOffset(c, 20);
    c.options.causal = true;
    CheckCase(c);
  }
}

TEST(StripTileTest, TilesOfManyStripsAndBlocks) {
  const int64_t len = kSanitized ? 180 : 420;
  for (const int64_t heads : {2, 6}) {
    RequestCase c = CaseWithWeights({1, heads, 2, len / heads, len, 12, 20});
    c.options.causal = true;
    c.options.alignment = Alignment::kBottomRight;
    CheckCase(c);
    c.options.window = Window{.left = 70, .right = 9};
    CheckCase(c);
    c.options.softcap = 2;
    CheckCase(c);
    c.masks = {RandomMask(c.dims, heads, 30)};
    CheckCase(c);
  }
}

TEST(StripTileTest, SixteenBitKeysBetweenOtherHeads) {
  for (const DataType dtype : {DataType::kFloat16, DataType::kBfloat16, DataType::kFloat32}) {
    for (const int64_t dim : {1, 7, 16, 65}) {
      RequestCase c = CaseWithWeights({2, 6, 2, 19, 350, dim, 80 - dim});
      c.layout = Layout::kTokensFirst;
      Convert(c.key, dtype);
      Convert(c.value, dtype);
      CheckCase(c);
      c.options.causal = true;
      c.options.alignment = Alignment::kBottomRight;
      CheckCase(c);
    }
  }
}

// Rows before, between and behind those that see keys.
TEST(StripTileTest, RowsWithoutKeysBesideRowsWithKeys) {
  for (const int64_t heads : {1, 3}) {
    for (const int64_t kv_len : {1, 9, 20, 200}) {
      RequestCase c = CaseWithWeights({1, heads, 1, 75, kv_len, 8, 5});
      UseOffset(c, -30);
      c.options.window = Window{.left = 3, .right = 2};
      CheckCase(c);
      // Nothing at all in some strips.
      c.options.q_offset = {-70};
      CheckCase(c);
      // Every second row, and rows whose keys lie in the second block only.
      c = CaseWithWeights({1, heads, 1, 75, 2 * kv_len, 8, 5});
      c.masks = {RandomMask(c.dims, 1, 50)};
      for (int64_t i = 0; i < 75; ++i) {
        const auto row = c.masks[0].tensor.numbers.begin() + i * 2 * kv_len;
        if (i % 2 == 0) std::fill_n(row, 2 * kv_len, 0.0F);
        if (i % 4 == 1) std::fill_n(row, kv_len, 0.0F);
      }
      CheckCase(c);
    }
  }
}

struct PoisonProblem {
  const char* name;
  std::function<void(RequestCase&)> set;
};

// Of rows that see different keys, of many blocks in every instruction set.
std::vector<PoisonProblem> PoisonProblems() {
  return {
      {"causal",
       [](RequestCase& c) {
         c.options.causal = true;
         c.options.alignment = Alignment::kBottomRight;
       }},
      {"window",
       [](RequestCase& c) {
         UseOffset(c, 150);
         c.options.window = Window{.left = 37, .right = 5};
       }},
      {"causal with softcap, and keys from the middle of a byte on",
       [](RequestCase& c) {
         UseOffset(c, 310);
         c.options.causal = true;
         c.options.softcap = 3;
         c.options.kv_starts = {123};
       }},
      {"mask", [](RequestCase& c) { c.masks = {RandomMask(c.dims, 1, 50)}; }},
      {"mask of heads in a window",
       [](RequestCase& c) {
         c.masks = {RandomMask(c.dims, c.dims.heads, 80)};
         UseOffset(c, 90);
         c.options.window = Window{.left = 100, .right = 0};
       }},
  };
}

class PoisonTest {
 public:
  explicit PoisonTest(const PoisonProblem& problem) : case_(CaseWithWeights({1, 4, 2, 51, 400, 8, 5})) {
    problem.set(case_);
    clean_ = RunFused(case_);
    EXPECT_TRUE(Matches(case_, clean_, Expect(case_)));
  }

  // Keys at ends of vectors, bytes and blocks.
  static std::vector<int64_t> Places() {
    if (kSanitized) return {0, 128, 159, 336, 399};
    return {0, 1, 127, 128, 159, 160, 250, 335, 336, 355, 399};
  }

  void CheckValue(int64_t key, float poison) {
    RequestCase c = case_;
    Poison(c.value, key, kColumn, poison);
    Check(c, key, [&](const float* output, const float* clean, float /*lse*/) {
      for (size_t column = 0; column < kValueDim; ++column) {
        if (column == kColumn) {
          EXPECT_TRUE(std::isnan(poison) ? std::isnan(output[column]) : output[column] == poison);
        } else {
          EXPECT_NEAR(output[column], clean[column], 1e-5);
        }
      }
    });
  }

  void CheckKey(int64_t key) {
    RequestCase c = case_;
    Poison(c.key, key, 2, kNan);
    Check(c, key, [](const float* output, const float* /*clean*/, float lse) {
      for (size_t column = 0; column < kValueDim; ++column) EXPECT_TRUE(std::isnan(output[column]));
      EXPECT_TRUE(std::isnan(lse));
    });
  }

 private:
  static constexpr size_t kValueDim = 5;
  static constexpr size_t kColumn = 3;

  // In one of the heads.
  static void Poison(CaseTensor& tensor, int64_t key, size_t column, float poison) {
    const int64_t token = tensor.shape[2] + key;
    tensor.numbers[static_cast<size_t>(token * tensor.shape[3]) + column] = poison;
  }

  // Rows that do not see `key` of the second key head are the clean ones bit for bit.
  template <typename CheckRow>
  void Check(const RequestCase& c, int64_t key, const CheckRow& check) {
    const CaseResult result = RunFused(c);
    const EntryResult& actual = result.entries[0];
    const EntryResult& clean = clean_.entries[0];
    const auto kv_len = static_cast<size_t>(c.dims.kv_len);
    int64_t seeing = 0;
    for (size_t row = 0; row < clean.lse.size(); ++row) {
      const bool second = static_cast<int64_t>(row) >= 2 * c.dims.q_len;
      const auto part = [row](const std::vector<float>& floats, size_t n) {
        return std::span(floats).subspan(row * n, n);
      };
      if (second && clean.weights[row * kv_len + static_cast<size_t>(key)] != 0) {
        ++seeing;
        check(part(actual.output, kValueDim).data(), part(clean.output, kValueDim).data(), actual.lse[row]);
        continue;
      }
      EXPECT_TRUE(SameBits(part(actual.output, kValueDim), part(clean.output, kValueDim), std::vector<int64_t>{5}))
          << "row " << row;
      EXPECT_TRUE(SameBits(part(actual.lse, 1), part(clean.lse, 1), std::vector<int64_t>{1})) << "row " << row;
      EXPECT_TRUE(SameBits(part(actual.weights, kv_len), part(clean.weights, kv_len), std::vector{c.dims.kv_len}))
          << "row " << row;
    }
    EXPECT_EQ(result.rows.non_finite, seeing);
    EXPECT_EQ(result.rows.empty, clean_.rows.empty);
    EXPECT_EQ(result.rows.pairs, clean_.rows.pairs);
  }

  RequestCase case_;
  CaseResult clean_;
};

TEST(StripTileTest, PoisonReachesExactlyTheRowsThatSeeIt) {
  for (const PoisonProblem& problem : PoisonProblems()) {
    SCOPED_TRACE(problem.name);
    ForEachTarget([&problem] {
      PoisonTest test(problem);
      for (const int64_t key : PoisonTest::Places()) {
        SCOPED_TRACE(testing::Message() << "key " << key);
        for (const float poison : {kNan, kInf, -kInf}) test.CheckValue(key, poison);
        test.CheckKey(key);
      }
    });
  }
}

// Poison that no row may see, all over the blocks.
TEST(StripTileTest, HiddenPoisonChangesNoBit) {
  for (const PoisonProblem& problem : PoisonProblems()) {
    SCOPED_TRACE(problem.name);
    ForEachTarget([&problem] {
      RequestCase c = CaseWithWeights({1, 4, 2, 51, 400, 8, 5});
      problem.set(c);
      CaseTensor drop{DataType::kBool, {1, 1, 1, 400}, std::vector<float>(400)};
      for (size_t k = 0; k < 400; ++k) drop.numbers[k] = k % 5 == 1 || (k > 200 && k < 220) ? 1 : 0;
      c.masks.push_back({drop, Polarity::kDrop});
      const CaseResult clean = RunFused(c);
      for (const float poison : {kNan, kInf}) {
        for (CaseTensor* tensor : {&c.key, &c.value}) {
          const int64_t dim = tensor->shape[3];
          for (int64_t token = 0; token < 800; ++token) {
            if (drop.numbers[static_cast<size_t>(token % 400)] == 0) continue;
            std::fill_n(tensor->numbers.begin() + token * dim, dim, poison);
          }
        }
        EXPECT_TRUE(SameResults(RunFused(c), clean));
      }
    });
  }
}

// The queries of `c` from `first` on, alone.
RequestCase QueriesFrom(const RequestCase& c, int64_t first) {
  RequestCase rest = c;
  rest.dims.q_len -= first;
  rest.query.shape[2] = rest.dims.q_len;
  rest.query.numbers.clear();
  for (int64_t h = 0; h < c.dims.heads; ++h) {
    const auto head = c.query.numbers.begin() + h * c.dims.q_len * c.dims.head_dim;
    rest.query.numbers.insert(rest.query.numbers.end(), head + first * c.dims.head_dim,
                              head + c.dims.q_len * c.dims.head_dim);
  }
  rest.options.q_offset[0] += first;
  return rest;
}

TEST(StripTileTest, TwoNarrowStripsStandInForAWideOneThatWouldBeEmptier) {
  ForEachTarget([] {
    const int64_t full = simd::FullStripWidth();
    for (int64_t rows = 1; rows <= 3 * full; ++rows) {
      int64_t strips = 0;
      int64_t width = 0;
      for (int64_t left = rows; left > 0; left -= StripRows(left)) {
        ASSERT_GT(StripRows(left), 0);
        ++strips;
        width += simd::StripWidth(StripRows(left));
      }
      const int64_t rest = rows % full;
      const int64_t plain = rows - rest + (rest > 0 ? simd::StripWidth(rest) : 0);
      EXPECT_LE(width, plain) << rows;
      EXPECT_LE(strips, (rows + full - 1) / full + (width < plain ? 1 : 0)) << rows;
      EXPECT_EQ(ComputedRows(EngineKind::kFused, rows), rows <= kFusedThinRows ? rows : width);
      EXPECT_EQ(width < plain, full == 32 && rest > 16 && rest <= 24) << rows;
    }
  });
}

// Other queries before them put rows into other columns of other strips, beside rows that see
// other keys.
TEST(StripTileTest, RowsDoNotDependOnTheirStrips) {
  const std::vector<std::function<void(RequestCase&)>> options = {
      [](RequestCase& c) { UseOffset(c, 0); },
      [](RequestCase& c) {
        UseOffset(c, 270);
        c.options.causal = true;
      },
      [](RequestCase& c) {
        UseOffset(c, 143);
        c.options.window = Window{.left = 51, .right = 12};
      },
      [](RequestCase& c) {
        UseOffset(c, -3);
        c.options.window = Window{.left = 10, .right = 300};
        c.options.kv_starts = {19};
        c.options.softcap = 4;
      },
  };
  for (const int64_t heads : {1, 3}) {
    for (size_t i = 0; i < options.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "options " << i << " heads " << heads);
      RequestCase c = CaseWithWeights({1, heads, 1, 70, 350, 9, 6});
      options[i](c);
      ForEachTarget([&] {
        const EntryResult all = RunFused(c).entries[0];
        for (const int64_t first : {1, 2, 3, 5, 8, 17, 31}) {
          const EntryResult rest = RunFused(QueriesFrom(c, first)).entries[0];
          const int64_t rows = c.dims.q_len - first;
          for (int64_t h = 0; h < heads; ++h) {
            const auto same = [&](const std::vector<float>& part, const std::vector<float>& whole, int64_t n) {
              return SameBits(std::span(part).subspan(static_cast<size_t>(h * rows * n), static_cast<size_t>(rows * n)),
                              std::span(whole).subspan(static_cast<size_t>((h * c.dims.q_len + first) * n),
                                                       static_cast<size_t>(rows * n)),
                              std::vector{rows, n});
            };
            EXPECT_TRUE(same(rest.output, all.output, c.dims.value_dim)) << "from query " << first;
            EXPECT_TRUE(same(rest.lse, all.lse, 1)) << "from query " << first;
            EXPECT_TRUE(same(rest.weights, all.weights, c.dims.kv_len)) << "from query " << first;
          }
        }
      });
    }
  }
}

void ExpectAgreement(const CaseResult& fused, const CaseResult& onednn, const ExpectedResult& expected) {
  const auto agree = [](const std::vector<float>& actual, const std::vector<float>& other, double tolerance) {
    return AlmostEqual(actual, std::vector<double>(other.begin(), other.end()), 2 * tolerance,
                       std::vector{static_cast<int64_t>(other.size())});
  };
  ASSERT_EQ(fused.entries.size(), onednn.entries.size());
  for (size_t b = 0; b < fused.entries.size(); ++b) {
    const EntryResult& f = fused.entries[b];
    const EntryResult& o = onednn.entries[b];
    EXPECT_TRUE(agree(f.output, o.output, expected.output_tolerance));
    EXPECT_TRUE(agree(f.lse, o.lse, expected.lse_tolerance));
    EXPECT_TRUE(agree(f.weights, o.weights, expected.weights_tolerance));
    EXPECT_TRUE(agree(f.scores, o.scores, expected.scores_tolerance));
  }
  EXPECT_EQ(fused.rows.empty, onednn.rows.empty);
  EXPECT_EQ(fused.rows.non_finite, onednn.rows.non_finite);
  EXPECT_EQ(fused.rows.pairs, onednn.rows.pairs);
}

// The two engines share the plan and nothing of the arithmetic.
TEST(EngineDifferenceTest, BothEnginesAgreeOnRandomCases) {
  const uint64_t base = FromEnvironment("ATTND_SEED", 20260701);
  const uint64_t cases = FromEnvironment("ATTND_CASES", kSanitized ? 60 : 600);
  for (uint64_t seed = base; seed < base + cases; ++seed) {
    const RequestCase c = RandomCase(seed, {.max_pairs = 40000, .length_factor = 3});
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const ExpectedResult expected = Expect(c);
    const CaseResult onednn = RunCase(c, {.engine = EngineKind::kOnednn});
    ForEachTarget([&] { ExpectAgreement(RunFused(c), onednn, expected); });
  }
}

}  // namespace
}  // namespace attnd
