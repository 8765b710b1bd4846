// The flow around an engine's products, by products that are beyond doubt: blocks cut
// anywhere, tiles of any number of rows, and what products may leave beside their results.
#include "core/attention/row_tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/split.h"
#include "tests/support/compare.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"
#include "tests/support/simd_targets.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tile_problem.h"

namespace attnd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Cut {
  int64_t key_block = 32;
  int64_t rows_per_tile = 5;
  int64_t more_rows = 0;
};

CaseResult RunRows(const RequestCase& c, const Cut& cut = {}) {
  const TileProblem problem(c);
  RowTiles tiles(std::make_unique<PlainProducts>(cut.key_block, cut.more_rows));
  RowCounts counts;
  for (const Tile& tile : TilesOf(problem.plan(), cut.rows_per_tile)) {
    const auto more = tiles.Run(problem.plan(), problem.data(), tile);
    EXPECT_THAT(more, IsOk());
    if (!more.ok()) break;
    counts.empty += more->empty;
    counts.non_finite += more->non_finite;
    counts.pairs += more->pairs;
  }
  for (int64_t b = 0; b < c.dims.batch && problem.plan().mean_weights; ++b) {
    for (int64_t q = 0; q < c.dims.q_len; q += cut.rows_per_tile) {
      EXPECT_THAT(
          tiles.MeanWeights(problem.plan(), problem.data(), b, q, std::min(q + cut.rows_per_tile, c.dims.q_len)),
          IsOk());
    }
  }
  return problem.Result(counts);
}

void CheckCase(const RequestCase& c, const Cut& cut = {}) {
  const ExpectedResult expected = Expect(c);
  ForEachTarget([&] { EXPECT_TRUE(Matches(c, RunRows(c, cut), expected)) << c.ToString(); });
}

RequestCase CaseOfAllOutputs(const Dims& dims) {
  RequestCase c = NormalCase(dims);
  c.outputs = {.lse = true, .weights = WeightsOutput(), .scores = ScoreStage::kBiased};
  return c;
}

CaseMask KeepMask(const Dims& dims, const std::function<bool(int64_t q, int64_t k)>& sees) {
  CaseMask mask{{DataType::kBool, {dims.q_len, dims.kv_len}, {}}, Polarity::kKeep};
  for (int64_t q = 0; q < dims.q_len; ++q) {
    for (int64_t k = 0; k < dims.kv_len; ++k) mask.tensor.numbers.push_back(sees(q, k) ? 1 : 0);
  }
  return mask;
}

TEST(RowTilesTest, KeysOfAnyNumber) {
  for (const int64_t kv_len : {0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 100}) {
    RequestCase c = CaseOfAllOutputs({1, 2, 1, 3, kv_len, 7, 5});
    CheckCase(c);
    SeeKeysBefore(c, kv_len / 2);
    CheckCase(c);
  }
}

TEST(RowTilesTest, RowsAndDimsOfAnyNumber) {
  for (const int64_t dim : {1, 3, 15, 16, 17, 33}) {
    for (const int64_t q_len : {1, 4, 11}) {
      CheckCase(CaseOfAllOutputs({2, 3, 1, q_len, 50, dim, 34 - dim}));
      CheckCase(CaseOfAllOutputs({1, 2, 2, q_len, 50, 34 - dim, dim}), {.more_rows = 3});
    }
  }
}

TEST(RowTilesTest, BlocksAndTilesOfAnySize) {
  RequestCase c = CaseOfAllOutputs({2, 4, 2, 9, 140, 6, 10});
  SeeKeysBefore(c, 90);
  c.options.window = Window{.left = 70, .right = 0};
  for (const int64_t key_block : {16, 48, 128, 512}) {
    for (const int64_t rows : {1, 2, 7, 18, 100}) CheckCase(c, {key_block, rows, rows % 2 * 4});
  }
}

TEST(RowTilesTest, SixteenBitElements) {
  for (const DataType dtype : {DataType::kFloat16, DataType::kBfloat16}) {
    RequestCase c = CaseOfAllOutputs({2, 2, 1, 6, 75, 9, 21});
    Convert(c.key, dtype);
    Convert(c.value, dtype);
    CheckCase(c);
    Convert(c.query, dtype);
    SeeKeysBefore(c, 30);
    CheckCase(c);
  }
}

TEST(RowTilesTest, ScoresThatNeedMoreThanTheScale) {
  RequestCase c = CaseOfAllOutputs({1, 2, 1, 7, 90, 8, 3});
  c.options.softcap = 2;
  CheckCase(c);
  c.alibi_slopes = CaseTensor{DataType::kFloat32, {2}, {0.25F, 0.5F}};
  SeeKeysBefore(c, 60);
  CheckCase(c);
  c.sinks = CaseTensor{DataType::kFloat32, {2}, {1.5F, -3.0F}};
  c.masks = {KeepMask(c.dims, [](int64_t q, int64_t k) { return (q + k) % 3 != 0; })};
  CheckCase(c);
}

TEST(RowTilesTest, WeightsAveragedOverHeads) {
  RequestCase c = NormalCase({2, 6, 2, 9, 70, 5, 4});
  c.outputs = {.lse = true, .weights = WeightsOutput{.mean = true, .rows = {}}};
  CheckCase(c);
  SeeKeysBefore(c, 20);
  CheckCase(c);
}

// Before, between and behind those that see keys; in blocks that others see.
TEST(RowTilesTest, RowsWithoutKeys) {
  RequestCase c = CaseOfAllOutputs({1, 2, 1, 12, 80, 8, 5});
  SeeKeysBefore(c, -4);
  CheckCase(c);
  c.options.q_offset = {-100};
  CheckCase(c);
  c = CaseOfAllOutputs({1, 2, 1, 12, 80, 8, 5});
  c.masks = {KeepMask(c.dims, [](int64_t q, int64_t k) { return q % 3 == 0 && (q % 2 == 0 || k >= 40); })};
  CheckCase(c);
}

// Element [head, q] of results of `n` numbers each.
std::span<const float> RowOf(const std::vector<float>& all, int64_t row, int64_t n) {
  return std::span(all).subspan(static_cast<size_t>(row * n), static_cast<size_t>(n));
}

TEST(RowTilesTest, ValuesThatAreNotFiniteReachExactlyTheRowsThatSeeThem) {
  const auto causal = [](RequestCase& c) { SeeKeysBefore(c, 40); };
  const auto masked = [](RequestCase& c) {
    c.masks = {KeepMask(c.dims, [](int64_t q, int64_t k) { return (q * 7 + k) % 5 < 2; })};
  };
  for (const auto& hide : {std::function<void(RequestCase&)>(causal), std::function<void(RequestCase&)>(masked)}) {
    RequestCase c = CaseOfAllOutputs({1, 2, 1, 13, 70, 8, 5});
    hide(c);
    ForEachTarget([&] {
      const CaseResult clean = RunRows(c);
      for (const int64_t key : {0, 7, 31, 32, 44, 48, 69}) {
        for (const float poison : {kNan, kInf}) {
          RequestCase poisoned = c;
          poisoned.value.numbers[static_cast<size_t>(key * 5 + 2)] = poison;
          const CaseResult result = RunRows(poisoned);
          int64_t seeing = 0;
          for (int64_t row = 0; row < 26; ++row) {
            SCOPED_TRACE(testing::Message() << "key " << key << " row " << row);
            const auto output = RowOf(result.entries[0].output, row, 5);
            const auto before = RowOf(clean.entries[0].output, row, 5);
            if (RowOf(clean.entries[0].weights, row, 70)[static_cast<size_t>(key)] == 0) {
              EXPECT_TRUE(SameBits(output, before, std::vector<int64_t>{5}));
              continue;
            }
            ++seeing;
            EXPECT_FALSE(std::isfinite(output[2]));
            for (const size_t other : {0, 1, 3, 4}) EXPECT_NEAR(output[other], before[other], 1e-6);
          }
          EXPECT_EQ(result.rows.non_finite, seeing);
          EXPECT_TRUE(SameBits(result.entries[0].weights, clean.entries[0].weights, std::vector<int64_t>{26, 70}));
        }
      }
    });
  }
}

// The state of a tile's rows, of no keys.
struct State {
  State(int64_t rows, int64_t value_dim)
      : max(static_cast<size_t>(rows)),
        sum(max.size()),
        stride((value_dim + 15) / 16 * 16),
        acc(static_cast<size_t>(rows * stride)) {
    ClearState(rows, rows_state());
  }
  simd::RowState rows_state() { return {max.data(), sum.data(), acc.data(), stride}; }

  std::vector<float> max;
  std::vector<float> sum;
  int64_t stride;
  AlignedFloats acc;
};

TEST(RowTilesTest, PartsInOrderMakeTheWhole) {
  RequestCase c = CaseOfAllOutputs({1, 3, 1, 4, 130, 8, 6});
  SeeKeysBefore(c, 60);
  const ExpectedResult expected = Expect(c);
  ForEachTarget([&] {
    const TileProblem problem(c);
    RowTiles tiles(std::make_unique<PlainProducts>(32));
    RowCounts counts;
    for (const Tile& tile : TilesOf(problem.plan(), 12)) {
      State state(tile.row_end - tile.row_begin, c.dims.value_dim);
      // Of a block, of pieces of blocks, of one vector, and one that no row sees.
      for (const KeyRange keys : {KeyRange{0, 32}, KeyRange{32, 48}, KeyRange{48, 80}, KeyRange{80, 130}}) {
        const auto pairs = tiles.AddPart(problem.plan(), problem.data(), tile, keys, state.rows_state());
        ASSERT_THAT(pairs, IsOk());
        counts.pairs += *pairs;
      }
      const auto rest = tiles.Finish(problem.plan(), problem.data(), tile, state.rows_state());
      ASSERT_THAT(rest, IsOk());
      EXPECT_EQ(rest->pairs, 0);
      counts.empty += rest->empty;
    }
    EXPECT_TRUE(Matches(c, problem.Result(counts), expected));
  });
}

TEST(RowTilesTest, OtherTilesRowsAreNotTouched) {
  const RequestCase c = CaseOfAllOutputs({2, 4, 2, 5, 40, 8, 6});
  const TileProblem problem(c);
  RowTiles tiles(std::make_unique<PlainProducts>(32, 4));
  // Queries 1 and 2 of heads 2 and 3.
  ASSERT_THAT(tiles.Run(problem.plan(), problem.data(), {1, 1, 2, 6}), IsOk());
  const CaseResult result = problem.Result();
  for (size_t b = 0; b < 2; ++b) {
    for (int64_t row = 0; row < 20; ++row) {
      SCOPED_TRACE(testing::Message() << "entry " << b << " row " << row);
      const bool mine = b == 1 && row >= 10 && (row % 5 == 1 || row % 5 == 2);
      const EntryResult& entry = result.entries[b];
      for (const float x : RowOf(entry.output, row, 6)) EXPECT_EQ(std::isnan(x), !mine);
      for (const float x : RowOf(entry.lse, row, 1)) EXPECT_EQ(std::isnan(x), !mine);
      for (const float x : RowOf(entry.weights, row, 40)) EXPECT_EQ(std::isnan(x), !mine);
      for (const float x : RowOf(entry.scores, row, 40)) EXPECT_EQ(std::isnan(x), !mine);
    }
  }
}

TEST(RowTilesTest, FailuresOfProductsArePassedOn) {
  RequestCase c = NormalCase({1, 1, 1, 4, 40, 8, 6});
  const TileProblem problem(c);
  for (absl::Status PlainProducts::*step :
       {&PlainProducts::begin_status, &PlainProducts::scores_status, &PlainProducts::values_status}) {
    auto products = std::make_unique<PlainProducts>(32);
    PlainProducts& mine = *products;
    RowTiles tiles(std::move(products));
    mine.*step = absl::ResourceExhaustedError("no room");
    const Tile tile{0, 0, 0, 4};
    EXPECT_THAT(tiles.Run(problem.plan(), problem.data(), tile),
                IsError(absl::StatusCode::kResourceExhausted, "no room"));
    EXPECT_LE(mine.products, 2);
    mine.*step = absl::OkStatus();
    const auto counts = tiles.Run(problem.plan(), problem.data(), tile);
    ASSERT_THAT(counts, IsOk());
    EXPECT_TRUE(Matches(c, problem.Result(*counts), Expect(c)));
  }
}

}  // namespace
}  // namespace attnd
