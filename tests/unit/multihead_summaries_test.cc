// Summaries of weights in multi-head attention: those of the weights that the same request
// returns, learned keys or not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/multihead_case.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

// Where the oracle of core/attention is not asked: a weight may be 0 because it is hidden.
void CheckRow(const AttentionResult& result, int64_t row, int64_t keys) {
  const float* weights = result.weights->data.floats() + row * keys;
  float largest = 0;
  double entropy = 0;
  double total = 0;
  const bool a_cell_each = result.heatmap->mean.shape == result.weights->shape;
  for (int64_t k = 0; k < keys; ++k) {
    if (a_cell_each) {
      const float mean = result.heatmap->mean.data.floats()[row * keys + k];
      const float max = result.heatmap->max.data.floats()[row * keys + k];
      EXPECT_EQ(std::isnan(mean) ? 0 : max, weights[k]) << "key " << k;
      EXPECT_NEAR(std::isnan(mean) ? 0 : mean, weights[k], 0x1p-24) << "key " << k;
    }
    const auto w = static_cast<double>(weights[k]);
    largest = std::max(largest, weights[k]);
    total += w;
    if (w > 0) entropy -= w * std::log(w);
  }
  EXPECT_EQ(result.top_k->weights.data.floats()[row], largest);
  const StatisticTensors& rows = *result.diagnostics->rows;
  const auto figure = [&](Statistic s) { return rows[static_cast<size_t>(s)].data.floats()[row]; };
  if (!(total > 0)) {
    EXPECT_TRUE(std::isnan(figure(Statistic::kEntropy)));
    return;
  }
  // A weight that is off by a rounding changes the entropy by that times its logarithm.
  EXPECT_NEAR(figure(Statistic::kEntropy), entropy, 0x1p-18 * (1 + entropy));
  EXPECT_NEAR(figure(Statistic::kLargest), largest, 0x1p-20);
}

TEST(MultiHeadSummariesTest, AreThoseOfTheWeights) {
  int checked = 0;
  for (uint64_t seed = 1; seed <= (kSanitized ? 60 : 600) && !testing::Test::HasFailure(); ++seed) {
    MultiHeadCase c = RandomMultiHeadCase(seed);
    if (c.request.layout == Layout::kPacked) continue;
    AttentionOutputs& outputs = c.request.outputs;
    outputs = AttentionOutputs();
    outputs.dtype = DataType::kFloat32;
    outputs.weights.emplace();
    outputs.top_k.emplace().k = 1;
    outputs.diagnostics.emplace().rows = true;
    outputs.heatmap.emplace();
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const auto run = RunMultiHead(c);
    ASSERT_THAT(run.status(), IsOk());
    const AttentionResult& result = run->attention;
    ASSERT_TRUE(result.weights && result.top_k && result.diagnostics && result.heatmap);
    const std::vector<int64_t>& shape = result.weights->shape;
    const int64_t rows = shape[0] * shape[1] * shape[2];
    for (int64_t row = 0; row < rows && shape[3] > 0; ++row, ++checked) {
      const float* weights = result.weights->data.floats() + row * shape[3];
      if (!std::any_of(weights, weights + shape[3], [](float w) { return std::isnan(w); }))
        CheckRow(result, row, shape[3]);
    }
  }
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace attnd
