// Sums and counts of summaries where problems are larger than tests can compute.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/attention/heat_rows.h"
#include "core/attention/plan.h"
#include "core/attention/summaries.h"
#include "core/runtime/buffer_pool.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

TEST(SummaryLimitsTest, SumsOverAnyNumberOfRowsFit) {
  AttentionPlan plan;
  for (int bits = 0; bits <= 50; ++bits) {
    const double rows = std::ldexp(1.0, bits);
    plan.queries.count = int64_t{1} << bits;
    EXPECT_LE(rows * FixedPointOf(plan, 0), 0x1p62) << rows;
    EXPECT_GE(rows * FixedPointOf(plan, 0), bits < 22 ? rows * 0x1p40 : 0x1p61) << rows;
  }
}

// A cell of more than 2^32 pairs, which it is told of again and again.
TEST(SummaryLimitsTest, ACellCountsMorePairsThan32BitsHold) {
  constexpr int64_t kKeys = int64_t{1} << 16;
  constexpr int64_t kRows = (int64_t{1} << 16) + 3;
  AttentionPlan plan;
  plan.dims = {.batch = 1, .heads = 1, .kv_heads = 1, .q_len = kRows, .kv_len = kKeys, .head_dim = 1, .value_dim = 1};
  plan.queries.count = kRows;
  plan.keys.count = kKeys;
  plan.heatmap = HeatmapPlan{.down = 1, .across = 1, .starts = {}, .cells = 1, .shape = {1, 1, 1, 1}};
  BufferPool pool({});
  Summaries summaries;
  ASSERT_THAT(summaries.Begin(plan, &pool), IsOk());
  AttentionData data;
  data.summaries = summaries.data();
  const std::vector<float> weights(kKeys, 1.0F / kKeys);
  const std::vector<float> sums(kRows, 1.0F);
  HeatRows rows;
  rows.Begin(plan, data, {.batch = 0, .kv_head = 0, .row_begin = 0, .row_end = kRows}, sums.data());
  for (int64_t r = 0; r < kRows; ++r) rows.AddWeights(r, BlockVisibility(), 0, kKeys, weights.data());
  rows.Flush();
  summaries.Finish(plan);
  EXPECT_FLOAT_EQ(summaries.heatmap()->mean.data.floats()[0], 1.0F / kKeys);
  EXPECT_EQ(summaries.heatmap()->max.data.floats()[0], 1.0F / kKeys);
}

}  // namespace
}  // namespace attnd
