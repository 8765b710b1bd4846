// Weights and scores by their own pass, given the maximum and the sum of every row.
#include "core/attention/pair_results.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/run_request.h"
#include "tests/support/simd_targets.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tile_problem.h"

namespace attnd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Maximum and sum of each row [batch, heads, q_len], from the oracle's scores and LSE.
struct Softmax {
  explicit Softmax(RequestCase c) {
    c.outputs = {.dtype = DataType::kFloat32, .lse = true, .scores = ScoreStage::kBiased};
    for (const ExpectedResult::Entry& entry : Expect(c).entries) {
      for (size_t row = 0; row < entry.lse.size(); ++row) {
        const auto first = entry.scores.begin() + static_cast<int64_t>(row) * c.dims.kv_len;
        const double largest = std::accumulate(first, first + c.dims.kv_len, double{-kInf},
                                               [](double a, double b) { return std::max(a, b); });
        max.push_back(static_cast<float>(largest));
        const bool none = max.back() == -kInf;
        sum.push_back(none ? 0 : static_cast<float>(std::exp(entry.lse[row] - double{max.back()})));
      }
    }
  }
  std::vector<float> max;
  std::vector<float> sum;
};

struct Cut {
  int64_t key_block = 32;
  int64_t rows_per_tile = 5;
};

absl::Status WriteTile(PairResults& pairs, const TileProblem& problem, const Softmax& softmax, const Tile& tile) {
  std::vector<float> max;
  std::vector<float> sum;
  for (int64_t r = 0; r < tile.row_end - tile.row_begin; ++r) {
    const RowPlace place = PlaceOf(problem.plan().dims, tile, r);
    const auto at = static_cast<size_t>(problem.plan().LseAt(tile.batch, place.head, place.query));
    max.push_back(softmax.max[at]);
    sum.push_back(softmax.sum[at]);
  }
  return pairs.Write(problem.plan(), problem.data(), tile, max.data(), sum.data());
}

CaseResult RunPairs(const RequestCase& c, const Cut& cut) {
  const TileProblem problem(c);
  const Softmax softmax(c);
  PlainProducts products(cut.key_block, /*more_rows=*/1);
  PairResults pairs(&products);
  for (const Tile& tile : TilesOf(problem.plan(), cut.rows_per_tile)) {
    EXPECT_THAT(WriteTile(pairs, problem, softmax, tile), IsOk());
  }
  if (problem.plan().mean_weights) {
    std::copy(softmax.max.begin(), softmax.max.end(), problem.data().row_max);
    std::copy(softmax.sum.begin(), softmax.sum.end(), problem.data().row_sum);
    for (int64_t b = 0; b < c.dims.batch; ++b) {
      for (int64_t q = 0; q < c.dims.q_len; q += cut.rows_per_tile) {
        EXPECT_THAT(
            pairs.WriteMean(problem.plan(), problem.data(), b, q, std::min(q + cut.rows_per_tile, c.dims.q_len)),
            IsOk());
      }
    }
  }
  return problem.Result();
}

// What is not asked for here, the output, stays as it was.
void CheckCase(const RequestCase& c, const Cut& cut = {}) {
  const ExpectedResult expected = Expect(c);
  ForEachTarget([&] {
    SCOPED_TRACE(c.ToString());
    const CaseResult result = RunPairs(c, cut);
    for (size_t b = 0; b < result.entries.size(); ++b) {
      const EntryResult& entry = result.entries[b];
      EXPECT_TRUE(std::all_of(entry.output.begin(), entry.output.end(), [](float x) { return std::isnan(x); }));
      // Beside the oracle's own bound, for the sum's rounding and the error of exp.
      EXPECT_TRUE(AlmostEqual(entry.weights, expected.entries[b].weights, expected.weights_tolerance + 0x1p-22,
                              std::vector{static_cast<int64_t>(entry.weights.size())}));
      EXPECT_TRUE(AlmostEqual(entry.scores, expected.entries[b].scores, expected.scores_tolerance,
                              std::vector{static_cast<int64_t>(entry.scores.size())}));
      for (size_t i = 0; i < entry.weights.size(); ++i) {
        if (expected.entries[b].weights[i] == 0) {
          EXPECT_EQ(entry.weights[i], 0) << "hidden, so exactly 0: " << i;
        }
      }
    }
  });
}

RequestCase CaseOfPairs(const Dims& dims) {
  RequestCase c = NormalCase(dims);
  c.outputs = {.weights = WeightsOutput(), .scores = ScoreStage::kBiased};
  return c;
}

// Keeps every third pair, and nothing of every fourth query.
CaseMask ThirdOfThePairs(const Dims& dims) {
  CaseMask mask{{DataType::kBool, {dims.q_len, dims.kv_len}, {}}, Polarity::kKeep};
  for (int64_t q = 0; q < dims.q_len; ++q) {
    for (int64_t k = 0; k < dims.kv_len; ++k) mask.tensor.numbers.push_back(q % 4 != 3 && (q + k) % 3 == 0 ? 1 : 0);
  }
  return mask;
}

TEST(PairResultsTest, KeysOfAnyNumber) {
  for (const int64_t kv_len : {0, 1, 15, 16, 17, 32, 33, 64, 90}) {
    RequestCase c = CaseOfPairs({2, 2, 1, 4, kv_len, 7, 3});
    CheckCase(c);
    SeeKeysBefore(c, kv_len / 2);
    CheckCase(c, {.key_block = 64, .rows_per_tile = 3});
    c.outputs.weights->mean = true;
    CheckCase(c);
  }
}

TEST(PairResultsTest, RowsWithoutKeysWeighNothing) {
  RequestCase c = CaseOfPairs({1, 4, 2, 9, 70, 5, 3});
  SeeKeysBefore(c, -4);
  CheckCase(c);
  c.options.q_offset = {-100};
  CheckCase(c);
  c = CaseOfPairs({1, 4, 2, 9, 70, 5, 3});
  c.masks = {ThirdOfThePairs(c.dims)};
  CheckCase(c);
  c.outputs.weights->mean = true;
  CheckCase(c);
}

TEST(PairResultsTest, ScoresAtEveryStage) {
  for (const ScoreStage stage :
       {ScoreStage::kUnscaled, ScoreStage::kScaled, ScoreStage::kCapped, ScoreStage::kBiased}) {
    RequestCase c = NormalCase({1, 2, 1, 6, 50, 9, 3});
    c.outputs.scores = stage;
    c.options.scale = 0.75F;
    c.options.softcap = 1.5F;
    c.alibi_slopes = CaseTensor{DataType::kFloat32, {2}, {0.125F, 0.5F}};
    SeeKeysBefore(c, 20);
    CheckCase(c);
    c.masks = {ThirdOfThePairs(c.dims)};
    CheckCase(c);
  }
}

TEST(PairResultsTest, SinksTakeTheirShare) {
  RequestCase c = CaseOfPairs({1, 2, 1, 6, 50, 9, 3});
  c.sinks = CaseTensor{DataType::kFloat32, {2}, {2.0F, -1.0F}};
  CheckCase(c);
  c.outputs.weights->mean = true;
  CheckCase(c);
}

TEST(PairResultsTest, SixteenBitElementsInAndOut) {
  for (const DataType dtype : {DataType::kFloat16, DataType::kBfloat16}) {
    for (const bool mean : {false, true}) {
      RequestCase c = CaseOfPairs({2, 4, 2, 5, 37, 11, 3});
      c.outputs.weights->mean = mean;
      Convert(c.key, dtype);
      Convert(c.value, dtype);
      CheckCase(c);
      c.outputs.dtype = dtype;
      SeeKeysBefore(c, 12);
      CheckCase(c);
    }
  }
}

TEST(PairResultsTest, ListedRowsAlone) {
  for (const bool mean : {false, true}) {
    RequestCase c = NormalCase({2, 4, 2, 9, 40, 5, 3});
    c.outputs.weights = WeightsOutput{.mean = mean, .rows = {7, 0, 3}};
    CheckCase(c);
    CheckCase(c, {.key_block = 16, .rows_per_tile = 2});
  }
}

// No products either.
TEST(PairResultsTest, NothingAskedForIsNothingDone) {
  RequestCase none = NormalCase({1, 2, 1, 6, 50, 9, 3});
  RequestCase listed = none;
  listed.outputs.weights = WeightsOutput{.mean = false, .rows = {5}};
  RequestCase mean = none;
  mean.outputs.weights = WeightsOutput{.mean = true, .rows = {5}};
  for (const RequestCase& c : {none, listed, mean}) {
    const TileProblem problem(c);
    PlainProducts products(32);
    PairResults pairs(&products);
    // Queries 0 to 2.
    EXPECT_THAT(WriteTile(pairs, problem, Softmax(c), {0, 0, 0, 6}), IsOk());
    if (problem.plan().mean_weights) {
      EXPECT_THAT(pairs.WriteMean(problem.plan(), problem.data(), 0, 0, 5), IsOk());
    }
    EXPECT_EQ(products.products, 0);
    const CaseResult result = problem.Result();
    for (const float x : result.entries[0].weights) EXPECT_TRUE(std::isnan(x));
  }
}

TEST(PairResultsTest, FailuresOfProductsArePassedOn) {
  for (const bool mean : {false, true}) {
    RequestCase c = NormalCase({1, 2, 1, 6, 50, 9, 3});
    c.outputs.weights = WeightsOutput{.mean = mean, .rows = {}};
    const TileProblem problem(c);
    const Softmax softmax(c);
    for (absl::Status PlainProducts::*step : {&PlainProducts::begin_status, &PlainProducts::scores_status}) {
      PlainProducts products(32);
      PairResults pairs(&products);
      products.*step = absl::InternalError("broken");
      EXPECT_THAT(mean ? pairs.WriteMean(problem.plan(), problem.data(), 0, 0, 6)
                       : WriteTile(pairs, problem, softmax, {0, 0, 0, 12}),
                  IsError(absl::StatusCode::kInternal, "broken"));
      EXPECT_LE(products.products, 1);
    }
  }
}

}  // namespace
}  // namespace attnd
