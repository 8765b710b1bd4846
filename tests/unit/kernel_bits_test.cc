// What the engine promises beside accuracy: the same bits whenever the arithmetic is the
// same, rows that are left alone, and poison that stays where it is visible.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "core/attention/engine.h"
#include "tests/support/attention_problem.h"
#include "tests/support/compare.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

ProblemSpec Spec(const Dims& dims, bool causal) {
  ProblemSpec spec;
  spec.dims = dims;
  spec.options.causal = causal;
  spec.options.alignment = causal ? Alignment::kBottomRight : Alignment::kUnset;
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  spec.seed = 42;
  return spec;
}

void ExpectSameBits(const AttentionPlan& plan, const EngineResult& actual, const EngineResult& expected) {
  EXPECT_TRUE(SameBits(actual.output, expected.output, OutputShape(plan)));
  EXPECT_TRUE(SameBits(actual.lse, expected.lse, LseShape(plan)));
  EXPECT_TRUE(SameBits(actual.weights, expected.weights, WeightsShape(plan)));
  EXPECT_EQ(actual.rows.empty, expected.rows.empty);
  EXPECT_EQ(actual.rows.non_finite, expected.rows.non_finite);
}

// Shapes with tails everywhere, groups, several key blocks, and single rows.
std::vector<ProblemSpec> Specs() {
  std::vector<ProblemSpec> specs;
  for (const bool causal : {false, true}) {
    specs.push_back(Spec({2, 4, 2, 53, 131, 40, 24}, causal));
    specs.push_back(Spec({1, 6, 2, 17, 700, 64, 64}, causal));
    specs.push_back(Spec({3, 8, 1, 1, 259, 128, 80}, causal));
    specs.push_back(Spec({1, 2, 2, 150, 33, 3, 1}, causal));
  }
  return specs;
}

TEST(KernelBitsTest, RepeatsAreEqual) {
  for (const ProblemSpec& spec : Specs()) {
    SCOPED_TRACE(spec.ToString());
    const AttentionProblem problem(spec);
    const EngineResult first = RunEngine(problem);
    for (int i = 0; i < 3; ++i) ExpectSameBits(problem.plan(), RunEngine(problem), first);
  }
}

TEST(KernelBitsTest, OtherWorkBetweenDoesNotMatter) {
  const std::vector<ProblemSpec> specs = Specs();
  std::vector<EngineResult> first;
  first.reserve(specs.size());
  for (const ProblemSpec& spec : specs) first.push_back(RunEngine(AttentionProblem(spec)));
  for (size_t i = specs.size(); i-- > 0;) {
    SCOPED_TRACE(specs[i].ToString());
    const AttentionProblem problem(specs[i]);
    ExpectSameBits(problem.plan(), RunEngine(problem), first[i]);
  }
}

TEST(KernelBitsTest, TilesMayRunInAnyOrder) {
  Random random(3);
  for (const ProblemSpec& spec : Specs()) {
    SCOPED_TRACE(spec.ToString());
    const AttentionProblem problem(spec);
    const EngineResult expected = RunEngine(problem);
    std::vector<Tile> tiles = TilesOf(problem.plan(), RowsPerTile(TestEngine(), problem.plan()));
    for (size_t i = tiles.size(); i > 1; --i) {
      std::swap(tiles[i - 1], tiles[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
    }
    ExpectSameBits(problem.plan(), RunTiles(problem.plan(), problem.Inputs(), tiles), expected);
  }
}

// The size of query blocks is the engine's own affair, so it must not show in the bits.
TEST(KernelBitsTest, RowsDoNotDependOnWhereTilesAreCut) {
  for (const ProblemSpec& spec : Specs()) {
    SCOPED_TRACE(spec.ToString());
    const AttentionProblem problem(spec);
    const EngineResult expected = RunEngine(problem);
    for (const int64_t rows_per_tile : {1, 5, 7, 16, 31, 47}) {
      SCOPED_TRACE(rows_per_tile);
      ExpectSameBits(problem.plan(), RunTiles(problem.plan(), problem.Inputs(), TilesOf(problem.plan(), rows_per_tile)),
                     expected);
    }
  }
}

TEST(KernelBitsTest, OtherThreadsGetTheSameBits) {
  for (const ProblemSpec& spec : Specs()) {
    SCOPED_TRACE(spec.ToString());
    const AttentionProblem problem(spec);
    const EngineResult expected = RunEngine(problem);
    std::vector<EngineResult> results(3);
    std::vector<std::thread> threads;
    threads.reserve(results.size());
    for (EngineResult& result : results) threads.emplace_back([&] { result = RunEngine(problem); });
    for (std::thread& thread : threads) thread.join();
    for (const EngineResult& result : results) ExpectSameBits(problem.plan(), result, expected);
  }
}

TEST(KernelBitsTest, AnEntryAloneEqualsTheEntryInABatch) {
  for (const bool causal : {false, true}) {
    for (const Dims& dims :
         {Dims{5, 4, 2, 37, 83, 24, 40}, Dims{5, 8, 2, 1, 300, 64, 64}, Dims{5, 3, 3, 49, 17, 8, 8}}) {
      const AttentionProblem batch(Spec(dims, causal));
      const EngineResult all = RunEngine(batch);
      Dims one = dims;
      one.batch = 1;
      AttentionProblem alone(Spec(one, causal));
      for (int64_t b = 0; b < dims.batch; ++b) {
        SCOPED_TRACE(b);
        const auto take = [b](const AlignedFloats& from, AlignedFloats& to) {
          const auto n = static_cast<int64_t>(to.size());
          std::copy(from.begin() + b * n, from.begin() + (b + 1) * n, to.begin());
        };
        take(batch.query, alone.query);
        take(batch.key, alone.key);
        take(batch.value, alone.value);
        const EngineResult result = RunEngine(alone);
        const auto entry = [b](const std::vector<float>& from, size_t n) {
          const auto begin = from.begin() + b * static_cast<int64_t>(n);
          return std::vector<float>(begin, begin + static_cast<int64_t>(n));
        };
        EXPECT_TRUE(SameBits(result.output, entry(all.output, result.output.size()), OutputShape(alone.plan())));
        EXPECT_TRUE(SameBits(result.lse, entry(all.lse, result.lse.size()), LseShape(alone.plan())));
        EXPECT_TRUE(SameBits(result.weights, entry(all.weights, result.weights.size()), WeightsShape(alone.plan())));
      }
    }
  }
}

TEST(KernelBitsTest, OtherBatchEntriesDoNotMatter) {
  const ProblemSpec spec = Spec({3, 4, 2, 37, 83, 24, 40}, true);
  const AttentionProblem clean(spec);
  AttentionProblem spoiled(spec);
  const auto spoil = [](AlignedFloats& tensor) {
    std::fill(tensor.begin(), tensor.begin() + static_cast<int64_t>(tensor.size() / 3), kNan);
  };
  spoil(spoiled.query);
  spoil(spoiled.key);
  spoil(spoiled.value);
  const std::vector<float> expected = RunEngine(clean).output;
  const EngineResult result = RunEngine(spoiled);
  const auto third = static_cast<int64_t>(expected.size() / 3);
  EXPECT_TRUE(SameBits(std::span(result.output).subspan(static_cast<size_t>(third)),
                       std::span(expected).subspan(static_cast<size_t>(third)), std::vector<int64_t>{2, 4, 37, 40}));
  EXPECT_EQ(result.rows.non_finite, 4 * 37);
}

TEST(KernelBitsTest, AskingForMoreDoesNotChangeTheOutput) {
  for (ProblemSpec spec : Specs()) {
    SCOPED_TRACE(spec.ToString());
    const EngineResult both = RunEngine(AttentionProblem(spec));
    spec.outputs = {};
    const AttentionProblem plain(spec);
    EXPECT_TRUE(SameBits(RunEngine(plain).output, both.output, OutputShape(plain.plan())));
    spec.outputs = {.lse = true, .weights = std::nullopt};
    const EngineResult lse = RunEngine(AttentionProblem(spec));
    EXPECT_TRUE(SameBits(lse.output, both.output, OutputShape(plain.plan())));
    EXPECT_TRUE(SameBits(lse.lse, both.lse, LseShape(plain.plan())));
    spec.outputs = {.lse = false, .weights = WeightsOutput()};
    const EngineResult weights = RunEngine(AttentionProblem(spec));
    EXPECT_TRUE(SameBits(weights.output, both.output, OutputShape(plain.plan())));
    EXPECT_TRUE(SameBits(weights.weights, both.weights, WeightsShape(plain.plan())));
  }
}

TEST(KernelBitsTest, LayoutsGiveTheSameBits) {
  // Equal tensors in both layouts: one head, so that only the strides' names differ, and
  // several heads copied across.
  ProblemSpec spec = Spec({2, 4, 2, 37, 83, 24, 40}, true);
  AttentionProblem heads_first(spec);
  spec.layout = Layout::kTokensFirst;
  AttentionProblem tokens_first(spec);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t i = 0; i < 37; ++i) std::copy_n(heads_first.QueryRow(b, h, i), 24, tokens_first.QueryRow(b, h, i));
    }
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t k = 0; k < 83; ++k) {
        std::copy_n(heads_first.KeyRow(b, h, k), 24, tokens_first.KeyRow(b, h, k));
        std::copy_n(heads_first.ValueRow(b, h, k), 40, tokens_first.ValueRow(b, h, k));
      }
    }
  }
  ExpectSameBits(tokens_first.plan(), RunEngine(tokens_first), RunEngine(heads_first));
}

TEST(KernelBitsTest, ATileTouchesOnlyItsRows) {
  for (const Layout layout : {Layout::kHeadsFirst, Layout::kTokensFirst}) {
    ProblemSpec spec = Spec({2, 6, 2, 40, 30, 8, 5}, true);
    spec.layout = layout;
    const AttentionProblem problem(spec);
    const AttentionPlan& plan = problem.plan();
    for (const Tile& tile : {Tile{0, 0, 0, 1}, Tile{1, 1, 7, 40}, Tile{0, 1, 119, 120}, Tile{1, 0, 48, 96}}) {
      SCOPED_TRACE(tile.row_begin);
      const EngineResult result = RunTiles(plan, problem.Inputs(), {tile});
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t h = 0; h < 6; ++h) {
          for (int64_t i = 0; i < 40; ++i) {
            const int64_t stacked = i * 3 + h % 3;
            const bool inside =
                b == tile.batch && h / 3 == tile.kv_head && tile.row_begin <= stacked && stacked < tile.row_end;
            const auto row = static_cast<size_t>((b * 6 + h) * 40 + i);
            const auto untouched = [](float x) { return std::bit_cast<uint32_t>(x) == kUntouchedBits; };
            const auto count = [&](const std::vector<float>& v, size_t n) {
              const auto begin = v.begin() + static_cast<int64_t>(row * n);
              return std::count_if(begin, begin + static_cast<int64_t>(n), untouched);
            };
            EXPECT_EQ(count(result.output, 5), inside ? 0 : 5);
            EXPECT_EQ(count(result.lse, 1), inside ? 0 : 1);
            EXPECT_EQ(count(result.weights, 30), inside ? 0 : 30);
          }
        }
      }
    }
  }
}

TEST(KernelPoisonTest, HiddenKeysAndValuesNeverReachARow) {
  for (const float poison : {kNan, kInf, -kInf}) {
    for (const int64_t first_bad : {1, 16, 40, 47, 48, 99}) {
      for (const int64_t heads : {1, 2}) {
        ProblemSpec spec = Spec({1, heads, 1, 100, 100, 16, 16}, true);
        SCOPED_TRACE(std::to_string(poison) + " from key " + std::to_string(first_bad));
        const AttentionProblem clean(spec);
        AttentionProblem spoiled(spec);
        for (int64_t k = first_bad; k < 100; ++k) {
          std::fill_n(spoiled.KeyRow(0, 0, k), 16, poison);
          std::fill_n(spoiled.ValueRow(0, 0, k), 16, poison);
        }
        const auto exact = ReferenceAttention<double>(clean.Request());
        const Tolerances tolerances = TolerancesOf(clean.Request(), exact);
        const EngineResult result = RunEngine(spoiled);
        for (int64_t h = 0; h < heads; ++h) {
          const auto row = static_cast<size_t>(h * 100);
          const auto n = static_cast<size_t>(first_bad);
          const auto part = [&](const auto& v, size_t width) { return std::span(v).subspan(row * width, n * width); };
          EXPECT_TRUE(AlmostEqual(part(result.output, 16), part(exact.output, 16), tolerances.output,
                                  std::vector<int64_t>{first_bad, 16}));
          EXPECT_TRUE(
              AlmostEqual(part(result.lse, 1), part(exact.lse, 1), tolerances.lse, std::vector<int64_t>{first_bad}));
          EXPECT_TRUE(AlmostEqual(part(result.weights, 100), part(exact.weights, 100), tolerances.weights,
                                  std::vector<int64_t>{first_bad, 100}));
        }
        if (std::isnan(poison)) {
          EXPECT_EQ(result.rows.non_finite, heads * (100 - first_bad));
        }
      }
    }
  }
}

TEST(KernelPoisonTest, AVisibleNanKeyReachesExactlyTheRowsThatSeeIt) {
  AttentionProblem problem(Spec({1, 2, 1, 100, 100, 16, 16}, true));
  problem.KeyRow(0, 0, 60)[3] = kNan;
  const EngineResult result = RunEngine(problem);
  for (size_t row = 0; row < 200; ++row) {
    const bool sees = row % 100 >= 60;
    for (size_t c = 0; c < 16; ++c) EXPECT_EQ(std::isnan(result.output[row * 16 + c]), sees) << row;
    EXPECT_EQ(std::isnan(result.lse[row]), sees) << row;
  }
  EXPECT_EQ(result.rows.non_finite, 2 * 40);
  EXPECT_EQ(result.rows.empty, 0);
}

TEST(KernelPoisonTest, AVisibleNanValueReachesItsColumnOfTheRowsThatSeeIt) {
  AttentionProblem problem(Spec({1, 2, 1, 100, 100, 16, 16}, true));
  problem.ValueRow(0, 0, 60)[3] = kNan;
  const EngineResult result = RunEngine(problem);
  for (size_t row = 0; row < 200; ++row) {
    for (size_t c = 0; c < 16; ++c) EXPECT_EQ(std::isnan(result.output[row * 16 + c]), row % 100 >= 60 && c == 3);
  }
  EXPECT_EQ(result.rows.non_finite, 2 * 40);
  ExpectMatchesReference(problem, result);
}

TEST(KernelPoisonTest, ANanQueryReachesItsRowOnly) {
  AttentionProblem problem(Spec({1, 4, 2, 30, 50, 16, 16}, false));
  problem.QueryRow(0, 2, 11)[0] = kNan;
  const EngineResult result = RunEngine(problem);
  for (size_t row = 0; row < size_t{4} * 30; ++row) EXPECT_EQ(std::isnan(result.output[row * 16]), row == 2 * 30 + 11);
  EXPECT_EQ(result.rows.non_finite, 1);
}

TEST(KernelPoisonTest, ANanInTheFirstOfManyBlocksIsNotForgotten) {
  AttentionProblem problem(Spec({1, 1, 1, 3, 2000, 64, 64}, false));
  problem.KeyRow(0, 0, 0)[0] = kNan;
  const EngineResult result = RunEngine(problem);
  for (const float x : result.output) EXPECT_TRUE(std::isnan(x));
  EXPECT_EQ(result.rows.non_finite, 3);
}

TEST(KernelPoisonTest, AKeyAtMinusInfinityHasNoWeight) {
  AttentionProblem problem(Spec({1, 1, 1, 2, 20, 1, 4}, false));
  *problem.QueryRow(0, 0, 0) = 1;
  *problem.QueryRow(0, 0, 1) = 2;
  *problem.KeyRow(0, 0, 7) = -kInf;
  const EngineResult result = RunEngine(problem);
  ExpectMatchesReference(problem, result);
  EXPECT_EQ(result.weights[7], 0);
  EXPECT_EQ(result.rows.non_finite, 0);
}

TEST(KernelPoisonTest, AnInfiniteScoreMakesItsRowNan) {
  AttentionProblem problem(Spec({1, 1, 1, 2, 20, 1, 4}, false));
  *problem.QueryRow(0, 0, 0) = 1;
  *problem.QueryRow(0, 0, 1) = -1;
  *problem.KeyRow(0, 0, 7) = kInf;
  const EngineResult result = RunEngine(problem);
  ExpectMatchesReference(problem, result);
  EXPECT_TRUE(std::isnan(result.output[0]));
  EXPECT_TRUE(std::isfinite(result.output[4]));
  EXPECT_EQ(result.rows.non_finite, 1);
}

TEST(KernelPoisonTest, ScoresOfMinusInfinityAloneLeaveNothingToWeigh) {
  AttentionProblem problem(Spec({1, 1, 1, 1, 20, 1, 4}, false));
  *problem.QueryRow(0, 0, 0) = 1;
  for (int64_t k = 0; k < 20; ++k) *problem.KeyRow(0, 0, k) = -kInf;
  const EngineResult result = RunEngine(problem);
  ExpectMatchesReference(problem, result);
  EXPECT_EQ(result.rows.empty, 1);
  EXPECT_EQ(result.lse[0], -kInf);
}

}  // namespace
}  // namespace attnd
