#include "client/rollout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(RolloutTest, IsTheProductOfLayersByHand) {
  // Heads [1 0; 0 1] and [1 0; 1 0]: A_1 = [1 0; 1/4 3/4]. [0 1; 1 0]: A_2 = [1/2 1/2; 1/2 1/2].
  const std::vector<double> first = {1, 0, 0, 1, 1, 0, 1, 0};
  const std::vector<double> second = {0, 1, 1, 0};
  const std::vector<RolloutLayer> layers = {{2, 2, first}, {1, 2, second}};
  const auto rollout = AttentionRollout(layers);
  ASSERT_THAT(rollout, IsOk());
  EXPECT_THAT(*rollout, ElementsAre(0.625, 0.375, 0.625, 0.375));
  // The other way round it is A_1 A_2.
  const auto swapped = AttentionRollout(std::vector<RolloutLayer>{layers[1], layers[0]});
  ASSERT_THAT(swapped, IsOk());
  EXPECT_THAT(*swapped, ElementsAre(0.5, 0.5, 0.5, 0.5));
}

TEST(RolloutTest, OneLayerIsMixedWithWhatPassesBy) {
  const std::vector<double> weights = {0.5, 0.5, 0.1, 0.9};
  const auto rollout = AttentionRollout(std::vector<RolloutLayer>{{1, 2, weights}});
  ASSERT_THAT(rollout, IsOk());
  EXPECT_THAT(*rollout, ElementsAre(DoubleEq(0.75), DoubleEq(0.25), DoubleEq(0.05), DoubleEq(0.95)));
}

TEST(RolloutTest, RowsOfPaddingKeepToThemselves) {
  const std::vector<double> weights = {1, 0, 0, 0};
  const auto rollout = AttentionRollout(std::vector<RolloutLayer>{{1, 2, weights}, {1, 2, weights}});
  ASSERT_THAT(rollout, IsOk());
  EXPECT_THAT(*rollout, ElementsAre(1, 0, 0, 1));
}

TEST(RolloutTest, RowsSumToOneAndAgreeWithPlainProducts) {
  constexpr size_t kLen = 37;
  constexpr size_t kHeads = 3;
  Random random(5);
  std::vector<std::vector<double>> weights(4, std::vector<double>(kHeads * kLen * kLen));
  std::vector<RolloutLayer> layers;
  std::vector<double> expected(kLen * kLen);
  for (size_t i = 0; i < kLen; ++i) expected[i * kLen + i] = 1;
  for (auto& layer : weights) {
    for (double& weight : layer) weight = static_cast<double>(random.Uniform()) * 2 / kLen;
    layers.push_back({kHeads, kLen, layer});
    std::vector<double> next(kLen * kLen);
    for (size_t i = 0; i < kLen; ++i) {
      std::vector<double> row(kLen);
      double sum = 0;
      for (size_t k = 0; k < kLen; ++k) {
        for (size_t h = 0; h < kHeads; ++h) row[k] += layer[(h * kLen + i) * kLen + k] / kHeads;
        if (k == i) row[k] += 1;
        sum += row[k];
      }
      for (size_t k = 0; k < kLen; ++k) {
        for (size_t j = 0; j < kLen; ++j) next[i * kLen + j] += row[k] / sum * expected[k * kLen + j];
      }
    }
    expected = next;
  }
  const auto rollout = AttentionRollout(layers);
  ASSERT_THAT(rollout, IsOk());
  for (size_t i = 0; i < kLen; ++i) {
    double sum = 0;
    for (size_t j = 0; j < kLen; ++j) {
      sum += (*rollout)[i * kLen + j];
      ASSERT_NEAR((*rollout)[i * kLen + j], expected[i * kLen + j], 1e-15);
    }
    EXPECT_NEAR(sum, 1, 1e-14);
  }
}

TEST(RolloutTest, RefusesWhatDoesNotFit) {
  const std::vector<double> four = {1, 0, 0, 1};
  const std::vector<double> nine(9);
  EXPECT_THAT(AttentionRollout({}), IsError(kInvalid, "there is no layer"));
  EXPECT_THAT(AttentionRollout(std::vector<RolloutLayer>{{1, 2, four}, {1, 3, nine}}),
              IsError(kInvalid, "layer 1: has length 3, the first one 2"));
  EXPECT_THAT(AttentionRollout(std::vector<RolloutLayer>{{2, 2, four}}),
              IsError(kInvalid, "layer 0: 4 weights are not 2 heads of 2 x 2"));
  EXPECT_THAT(AttentionRollout(std::vector<RolloutLayer>{{0, 2, {}}}), IsError(kInvalid, "layer 0: has no weights"));
  const std::vector<double> negative = {1, 0, -0.5, 1};
  EXPECT_THAT(AttentionRollout(std::vector<RolloutLayer>{{1, 2, negative}}), IsError(kInvalid, "negative"));
  const std::vector<double> unknown = {1, 0, std::numeric_limits<double>::quiet_NaN(), 1};
  EXPECT_THAT(AttentionRollout(std::vector<RolloutLayer>{{1, 2, unknown}}), IsError(kInvalid, "not finite"));
  EXPECT_THAT(AttentionRollout(std::vector<RolloutLayer>{{1, 2, four, 3}, {1, 2, unknown, 7}}),
              IsError(kInvalid, "rollout: layer 7: a weight"));
}

}  // namespace
}  // namespace attnd
