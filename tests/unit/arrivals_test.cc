#include "client/load/arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/load/arrival_check.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Each;
using ::testing::Gt;

LoadPoint PointOf(LoadModel model, double rate, double end_rate = 0) {
  LoadPoint point;
  point.model = model;
  point.rate = rate;
  point.end_rate = end_rate;
  return point;
}

std::vector<Duration> TimesUpTo(Duration end, Arrivals arrivals) {
  std::vector<Duration> times;
  for (Duration time = arrivals.Next(); time < end; time = arrivals.Next()) times.push_back(time);
  return times;
}

// As if each was sent when it was meant to be.
std::vector<Arrival> SentInTime(const std::vector<Duration>& times) {
  std::vector<Arrival> arrivals;
  for (const Duration time : times) arrivals.push_back({time, time});
  return arrivals;
}

TEST(ArrivalsTest, ConstantOnesAreAtEqualDistancesFromTheStartOfTheWarmUp) {
  const auto times =
      TimesUpTo(seconds(1), Arrivals(PointOf(LoadModel::kConstant, 100), milliseconds(500), seconds(1), 1));
  ASSERT_EQ(times.size(), 150);
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_NEAR(Seconds(times[i]), static_cast<double>(i) / 100 - 0.5, 1e-8);
  }
}

TEST(ArrivalsTest, ConstantOnesDoNotDrift) {
  Arrivals arrivals(PointOf(LoadModel::kConstant, 3), Duration(0), seconds(1), 1);
  Duration last{};
  for (int i = 0; i <= 3'000'000; ++i) last = arrivals.Next();
  EXPECT_NEAR(Seconds(last), 1e6, 1e-6);
}

TEST(ArrivalsTest, PoissonOnesHaveExponentialGaps) {
  const LoadPoint point = PointOf(LoadModel::kPoisson, 1000);
  int close = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const auto times = TimesUpTo(seconds(5), Arrivals(point, Duration(0), seconds(5), seed));
    EXPECT_NEAR(static_cast<double>(times.size()), 5000, 5 * 71) << seed;
    const ArrivalCheck check = CheckArrivals(point, seconds(5), SentInTime(times));
    EXPECT_NEAR(check.variation, 1, 0.1) << seed;
    close += check.distance <= check.distance_limit ? 1 : 0;
  }
  // 95 expected; 87 or fewer once in a thousand times, but these seeds are always the same.
  EXPECT_GT(close, 87);
  EXPECT_LT(close, 100);
}

TEST(ArrivalsTest, SeedsDecide) {
  const LoadPoint point = PointOf(LoadModel::kPoisson, 100);
  const auto times = [&](uint64_t seed) {
    return TimesUpTo(seconds(2), Arrivals(point, seconds(1), seconds(2), seed));
  };
  EXPECT_EQ(times(7), times(7));
  EXPECT_NE(times(7), times(8));
}

TEST(ArrivalsTest, RampsChangeTheRateSteadily) {
  for (const auto& [from, to] : std::vector<std::pair<double, double>>{{100, 300}, {300, 100}, {0, 400}, {400, 0}}) {
    const auto times =
        TimesUpTo(seconds(10), Arrivals(PointOf(LoadModel::kRamp, from, to), Duration(0), seconds(10), 1));
    EXPECT_NEAR(static_cast<double>(times.size()), (from + to) / 2 * 10, 1);
    size_t first_half = 0;
    for (const Duration time : times) first_half += time < seconds(5) ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(first_half), (from + (to - from) / 4) * 5, 1) << from << " to " << to;
    for (size_t i = 1; i < times.size(); ++i) ASSERT_GE(times[i], times[i - 1]);
  }
}

TEST(ArrivalsTest, RampsWarmUpAtTheirFirstRateAndGoOnAtTheirLast) {
  Arrivals arrivals(PointOf(LoadModel::kRamp, 10, 30), seconds(2), seconds(1), 1);
  const auto times = TimesUpTo(seconds(2), arrivals);
  ASSERT_EQ(times.size(), 20 + 20 + 30);
  EXPECT_EQ(times[0], -seconds(2));
  EXPECT_NEAR(Seconds(times[19]), -0.1, 1e-8);
  EXPECT_NEAR(Seconds(times[20]), 0, 1e-8);
  EXPECT_NEAR(Seconds(times[69] - times[68]), 1.0 / 30, 1e-8);
}

TEST(ArrivalCheckTest, SaysHowManySendsWereLate) {
  const LoadPoint point = PointOf(LoadModel::kConstant, 100);
  std::vector<Arrival> arrivals = SentInTime(TimesUpTo(seconds(1), Arrivals(point, Duration(0), seconds(1), 1)));
  ArrivalCheck check = CheckArrivals(point, seconds(1), arrivals);
  EXPECT_DOUBLE_EQ(check.rate_wanted, 100);
  EXPECT_NEAR(check.rate_sent, 100, 1e-3);
  EXPECT_NEAR(check.variation, 0, 1e-6);
  EXPECT_EQ(check.distance, 0);
  for (size_t i = 0; i < 20; ++i) arrivals[i].sent += std::chrono::microseconds(1100);
  // Not yet late.
  for (size_t i = 20; i < 50; ++i) arrivals[i].sent += std::chrono::microseconds(900);
  check = CheckArrivals(point, seconds(1), arrivals);
  EXPECT_DOUBLE_EQ(check.distance, 0.2);
  EXPECT_DOUBLE_EQ(check.distance_limit, 0.05);
}

TEST(ArrivalCheckTest, EqualGapsAreFarFromExponentialOnes) {
  const LoadPoint constant = PointOf(LoadModel::kConstant, 100);
  const auto times = TimesUpTo(seconds(10), Arrivals(constant, Duration(0), seconds(10), 1));
  const ArrivalCheck check = CheckArrivals(PointOf(LoadModel::kPoisson, 100), seconds(10), SentInTime(times));
  // All gaps are the mean, under which 1 - 1/e of the exponential ones are.
  EXPECT_NEAR(check.distance, 0.632, 0.001);
  EXPECT_NEAR(check.distance_limit, 1.358 / 31.6, 0.001);
}

TEST(ArrivalCheckTest, OfOneSendNothingIsSaid) {
  const ArrivalCheck check = CheckArrivals(PointOf(LoadModel::kPoisson, 5), seconds(1), {{}});
  EXPECT_EQ(check.rate_wanted, 5);
  EXPECT_EQ(check.rate_sent, 0);
  EXPECT_EQ(check.distance, 0);
}

TEST(WeightedChoiceTest, DrawsByWeight) {
  WeightedChoice choice({1, 3, 0.5, 5.5}, 1);
  std::vector<int> counts(4);
  for (int i = 0; i < 100'000; ++i) ++counts[choice.Next()];
  EXPECT_THAT(counts, Each(Gt(0)));
  EXPECT_NEAR(counts[0], 10'000, 500);
  EXPECT_NEAR(counts[1], 30'000, 800);
  EXPECT_NEAR(counts[2], 5'000, 400);
  EXPECT_NEAR(counts[3], 55'000, 900);
}

TEST(WeightedChoiceTest, OfAThreadIsIndependentOfItsArrivals) {
  for (const uint64_t seed : {uint64_t{1}, uint64_t{7}, uint64_t{1} << 40U}) {
    Arrivals arrivals(PointOf(LoadModel::kPoisson, 1000), Duration(0), seconds(1), seed);
    WeightedChoice choice({1, 1}, ChoiceSeed(seed, 0));
    std::vector<double> sums(2);
    std::vector<double> counts(2);
    Duration last{};
    for (int i = 0; i < 20'000; ++i) {
      const Duration time = arrivals.Next();
      const size_t kind = choice.Next();
      sums[kind] += Seconds(time - last);
      counts[kind] += 1;
      last = time;
    }
    // Means of 10,000 are some 1 % off.
    EXPECT_NEAR(sums[0] / counts[0], 1e-3, 5e-5) << seed;
    EXPECT_NEAR(sums[1] / counts[1], 1e-3, 5e-5) << seed;
  }
}

TEST(WeightedChoiceTest, ThreadsHaveSeedsOfTheirOwn) {
  EXPECT_EQ(ChoiceSeed(1, 2), ChoiceSeed(1, 2));
  EXPECT_NE(ChoiceSeed(1, 0), ChoiceSeed(1, 1));
  EXPECT_NE(ChoiceSeed(1, 1), ChoiceSeed(2, 0));
}

TEST(WeightedChoiceTest, SameSeedSameOrder) {
  const auto draw = [](uint64_t seed) {
    WeightedChoice choice({1, 1, 1}, seed);
    std::vector<size_t> drawn;
    for (int i = 0; i < 50; ++i) drawn.push_back(choice.Next());
    return drawn;
  };
  EXPECT_EQ(draw(3), draw(3));
  EXPECT_NE(draw(3), draw(4));
}

}  // namespace
}  // namespace attnd::load
