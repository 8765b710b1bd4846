// What rules save: predicted work, counted pairs, and keys that tiles look at at all.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/plan.h"
#include "core/attention/simd_strip.h"
#include "core/attention/tile_visibility.h"
#include "tests/support/attention_problem.h"
#include "tests/support/sanitizers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

constexpr int64_t kLen = kSanitized ? 4096 : 32768;
constexpr int64_t kDim = 4;
// Predictions are made from a sample of the queries.
constexpr double kEstimate = 0.02;

struct Work {
  // As shares of all pairs.
  double predicted = 0;
  double counted = 0;
  // Rows times the keys that they and the rows computed together with them look at.
  double looked_at = 0;
  double rows_together = 0;
};

Work WorkOf(const std::function<void(AttentionOptions&)>& add_rules) {
  ProblemSpec spec;
  spec.dims = {1, 1, 1, kLen, kLen, kDim, kDim};
  add_rules(spec.options);
  const AttentionProblem problem(spec);
  const AttentionPlan& plan = problem.plan();
  constexpr double kAll = static_cast<double>(kLen) * kLen;
  Work work;
  work.predicted = plan.flops / (2 * kAll * 2 * kDim);
  const std::vector<Tile> tiles = TilesOf(plan, RowsPerTile(TestEngine(), plan));
  work.counted = static_cast<double>(RunTiles(plan, problem.Inputs(), tiles).rows.pairs) / kAll;
  TileVisibility visibility;
  const AttentionData data = problem.Inputs();
  const int64_t together =
      TestEngine() == EngineKind::kFused ? simd::FullStripWidth() : RowsPerTile(TestEngine(), plan);
  work.rows_together = static_cast<double>(together);
  for (const Tile& tile : TilesOf(plan, together)) {
    visibility.Begin(plan, data, tile);
    work.looked_at += static_cast<double>((tile.row_end - tile.row_begin) * visibility.any().size()) / kAll;
  }
  return work;
}

// `looked_at_more`: keys per row beyond the visible ones.
void ExpectShare(const Work& work, double share, double looked_at_more) {
  EXPECT_NEAR(work.predicted, share, share * kEstimate);
  EXPECT_DOUBLE_EQ(work.counted, share);
  EXPECT_GE(work.looked_at, share);
  EXPECT_LE(work.looked_at, share + looked_at_more / kLen);
}

TEST(PlanWorkTest, DenseIsEverything) {
  const Work work = WorkOf([](AttentionOptions&) {});
  EXPECT_EQ(work.predicted, 1);
  EXPECT_EQ(work.counted, 1);
  EXPECT_DOUBLE_EQ(work.looked_at, 1);
}

TEST(PlanWorkTest, AWindowCostsItsWidth) {
  constexpr int64_t kWindow = 512;
  const Work work = WorkOf([](AttentionOptions& options) { options.window = Window{kWindow - 1, 0}; });
  // The first queries have fewer keys behind them.
  constexpr double kPairs = static_cast<double>(kLen) * kWindow - kWindow * (kWindow - 1) / 2.0;
  ExpectShare(work, kPairs / kLen / kLen, work.rows_together);
  EXPECT_NEAR(work.counted * kLen / kWindow, 1, kSanitized ? 0.07 : 0.01);
}

TEST(PlanWorkTest, CausalCostsHalf) {
  const Work work = WorkOf([](AttentionOptions& options) { options.causal = true; });
  ExpectShare(work, (kLen + 1) / 2.0 / kLen, work.rows_together);
}

TEST(PlanWorkTest, DocumentsCostTheSumOfTheirSquares) {
  std::vector<int32_t> ids;
  double squares = 0;
  for (int32_t id = 0; static_cast<int64_t>(ids.size()) < kLen; ++id) {
    const int64_t length = std::min(kLen - static_cast<int64_t>(ids.size()), int64_t{100} + id * 37 % 900);
    ids.insert(ids.end(), static_cast<size_t>(length), id);
    squares += static_cast<double>(length * length);
  }
  const Work work = WorkOf([&](AttentionOptions& options) { options.documents = Documents{ids, ids}; });
  // A tile in which a document ends looks at the next one too.
  ExpectShare(work, squares / kLen / kLen, 200);
  EXPECT_LT(work.looked_at, kSanitized ? 0.3 : 0.05);
}

TEST(PlanWorkTest, LengthsCostTheirProduct) {
  const Work work = WorkOf([](AttentionOptions& options) {
    options.q_lengths = {kLen / 4};
    options.kv_lengths = {kLen / 2};
    options.kv_starts = {kLen / 8};
  });
  ExpectShare(work, (1.0 / 4) * (3.0 / 8), 0);
}

TEST(PlanWorkTest, PackedSequencesCostTheSumOfTheirProducts) {
  const std::vector<int64_t> q_lengths = {100, 0, 7, 300};
  const std::vector<int64_t> kv_lengths = {50, 40, 0, 300};
  const std::vector<float> tensor(407 * 2 * kDim);
  AttentionRequest request;
  request.layout = Layout::kPacked;
  const auto view = [&](int64_t len) {
    return TensorView{DataType::kFloat32,
                      {len, 2, kDim},
                      Fragments(std::as_bytes(std::span(tensor).first(static_cast<size_t>(len * 2 * kDim))))};
  };
  request.query = view(407);
  request.key = request.value = view(390);
  request.options.q_lengths = q_lengths;
  request.options.kv_lengths = kv_lengths;
  const auto plan = PlanAttention(request, {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->flops, 2.0 * 2 * 2 * kDim * (100 * 50 + 300 * 300));
}

}  // namespace
}  // namespace attnd
