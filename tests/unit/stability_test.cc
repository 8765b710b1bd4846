#include "client/load/stability.h"

#include <gtest/gtest.h>

#include <chrono>

namespace attnd::load {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(StabilityTest, ThreeWindowsWithinATenthAreStable) {
  const Stability stability = CheckStability({{1, 95, 0.010}, {1, 100, 0.0105}, {1, 104, 0.0101}});
  EXPECT_TRUE(stability.reached);
  EXPECT_NEAR(stability.throughput_spread, 9 / (299.0 / 3), 1e-9);
  EXPECT_NEAR(stability.latency_spread, 0.0005 / (0.0306 / 3), 1e-9);
}

TEST(StabilityTest, OneMeasureThatDiffersIsEnough) {
  EXPECT_FALSE(CheckStability({{1, 100, 0.01}, {1, 100, 0.01}, {1, 80, 0.01}}).reached);
  EXPECT_FALSE(CheckStability({{1, 100, 0.01}, {1, 100, 0.012}, {1, 100, 0.01}}).reached);
}

TEST(StabilityTest, OnlyTheLastThreeCount) {
  EXPECT_TRUE(CheckStability({{1, 5, 1}, {1, 100, 0.01}, {1, 100, 0.01}, {1, 100, 0.01}}).reached);
  EXPECT_FALSE(CheckStability({{1, 100, 0.01}, {1, 100, 0.01}, {1, 100, 0.01}, {1, 5, 1}}).reached);
}

TEST(StabilityTest, WindowsOfDifferentLengthsAreComparedByRate) {
  EXPECT_TRUE(CheckStability({{1, 100, 0.01}, {2, 200, 0.01}, {0.5, 50, 0.01}}).reached);
}

TEST(StabilityTest, FewerThanThreeWindowsSayNothing) {
  const Stability stability = CheckStability({{1, 100, 0.01}, {1, 100, 0.01}});
  EXPECT_FALSE(stability.reached);
  EXPECT_LT(stability.throughput_spread, 0);
  EXPECT_LT(stability.latency_spread, 0);
}

TEST(StabilityTest, NoAnswersAreNotStable) { EXPECT_FALSE(CheckStability({{1, 0, 0}, {1, 0, 0}, {1, 0, 0}}).reached); }

TEST(StabilityBinsTest, CutsARunIntoThirds) {
  for (const int length : {1, 3, 10, 100, 1000}) {
    StabilityBins bins;
    // 100 a second; slower in the last third.
    for (int i = 0; i < 100 * length; ++i) {
      bins.Record(milliseconds(10) * i, i < 200 * length / 3 ? milliseconds(5) : milliseconds(9));
    }
    const auto windows = bins.Thirds(seconds(length));
    ASSERT_EQ(windows.size(), 3) << length;
    double sum = 0;
    for (const StabilityWindow& window : windows) {
      EXPECT_NEAR(static_cast<double>(window.answered) / window.seconds, 100, 2) << length;
      sum += window.seconds;
    }
    EXPECT_GT(sum, 0.9 * length);
    EXPECT_NEAR(windows[1].median, 0.005, 5e-6);
    EXPECT_NEAR(windows[2].median, 0.009, 9e-6);
  }
}

TEST(StabilityBinsTest, AddsUpThoseOfOtherLengths) {
  StabilityBins sum;
  StabilityBins others;
  for (int i = 0; i < 1000; ++i) others.Record(milliseconds(30) * i, milliseconds(1));
  for (int i = 0; i < 100; ++i) sum.Record(milliseconds(1) * i, milliseconds(1));
  sum.Add(others);
  const auto windows = sum.Thirds(seconds(30));
  ASSERT_EQ(windows.size(), 3);
  int64_t answered = 0;
  for (const StabilityWindow& window : windows) answered += window.answered;
  EXPECT_NEAR(static_cast<double>(answered), 1100, 40);
}

TEST(StabilityBinsTest, NothingOfTheWarmUpAndOfTooShortRuns) {
  StabilityBins bins;
  bins.Record(-microseconds(1), milliseconds(1));
  EXPECT_TRUE(bins.Thirds(milliseconds(59)).empty());
  const auto windows = bins.Thirds(milliseconds(60));
  ASSERT_EQ(windows.size(), 3);
  EXPECT_EQ(windows[0].answered, 0);
}

}  // namespace
}  // namespace attnd::load
