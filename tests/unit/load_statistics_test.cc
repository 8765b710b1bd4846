#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "client/load/statistics.h"
#include "tests/support/random.h"

namespace attnd::load {
namespace {

using ::testing::DoubleNear;
using ::testing::Optional;

TEST(StudentTTest, AgreesWithPublishedTables) {
  EXPECT_NEAR(StudentT95(1), 12.706, 0.001);
  EXPECT_NEAR(StudentT95(2), 4.303, 0.001);
  EXPECT_NEAR(StudentT95(3), 3.182, 0.001);
  EXPECT_NEAR(StudentT95(10), 2.228, 0.001);
  EXPECT_NEAR(StudentT95(30), 2.042, 0.001);
  EXPECT_NEAR(StudentT95(120), 1.980, 0.001);
  EXPECT_NEAR(StudentT95(1e6), 1.960, 0.001);
}

TEST(StudentTTest, FallsBetweenWholeDegrees) {
  for (double degrees = 1; degrees < 40; degrees += 0.25) EXPECT_GT(StudentT95(degrees), StudentT95(degrees + 0.25));
}

// By hand: variance 2.5, 2.776 * sqrt(2.5 / 5).
TEST(EstimateMeanTest, HasStudentsInterval) {
  const Estimate estimate = EstimateMean(std::vector<double>{1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(estimate.mean, 3);
  EXPECT_THAT(estimate.half_width, Optional(DoubleNear(1.963, 0.001)));
}

TEST(EstimateMeanTest, HasNoIntervalOfFewerThanTwoValues) {
  EXPECT_EQ(EstimateMean(std::vector<double>{7}).half_width, std::nullopt);
  EXPECT_DOUBLE_EQ(EstimateMean(std::vector<double>{7}).mean, 7);
  EXPECT_EQ(EstimateMean({}).half_width, std::nullopt);
}

// By hand: variances 1 and 4 over 3 each, so 25 / (1 + 16) * 2 = 2.941 degrees of freedom.
TEST(EstimateDifferenceTest, HasWelchsInterval) {
  const std::vector<double> before = {9, 10, 11};
  const std::vector<double> after = {18, 20, 22};
  const Estimate estimate = EstimateDifference(before, after, Sampling::kIndependent);
  EXPECT_DOUBLE_EQ(estimate.mean, 10);
  EXPECT_THAT(estimate.half_width, Optional(DoubleNear(StudentT95(2.941) * std::sqrt(5.0 / 3), 0.001)));
}

TEST(EstimateDifferenceTest, IsCertainOfConstants) {
  const std::vector<double> before = {5, 5};
  const std::vector<double> after = {6, 6};
  EXPECT_THAT(EstimateDifference(before, after, Sampling::kIndependent).half_width, Optional(0.0));
  EXPECT_THAT(EstimateDifference(before, after, Sampling::kSeries).half_width, Optional(0.0));
  EXPECT_EQ(EstimateDifference(before, std::vector<double>{6}, Sampling::kSeries).half_width, std::nullopt);
}

// Series in which each value is near the one before, of which both have the same mean: a
// method that takes their values for independent finds differences far too often.
TEST(EstimateDifferenceTest, KnowsThatNeighborsInASeriesAreAlike) {
  Random random(1);
  int misses = 0;
  constexpr int kTrials = 400;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> sides[2];
    for (auto& side : sides) {
      double value = static_cast<double>(random.Normal());
      for (int i = 0; i < 60; ++i) {
        value = 0.7 * value + std::sqrt(1 - 0.49) * static_cast<double>(random.Normal());
        side.push_back(value);
      }
    }
    const Estimate estimate = EstimateDifference(sides[0], sides[1], Sampling::kSeries);
    if (std::fabs(estimate.mean) > estimate.half_width.value()) ++misses;
  }
  // 5 % are due, 40 % without the correction.
  EXPECT_LT(misses, kTrials / 8);
}

TEST(EstimateDifferenceTest, MissesOnceInTwenty) {
  Random random(2);
  int misses = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> before;
    std::vector<double> after;
    for (int i = 0; i < 4; ++i) before.push_back(static_cast<double>(random.Normal()));
    for (int i = 0; i < 6; ++i) after.push_back(3 * static_cast<double>(random.Normal()));
    const Estimate estimate = EstimateDifference(before, after, Sampling::kIndependent);
    if (std::fabs(estimate.mean) > estimate.half_width.value()) ++misses;
  }
  EXPECT_NEAR(misses, kTrials / 20, kTrials / 40);
}

}  // namespace
}  // namespace attnd::load
