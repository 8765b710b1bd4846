#include "client/load/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/random.h"

namespace attnd::load {
namespace {

using std::chrono::nanoseconds;

constexpr double kPrecision = 1.0 / 1024;

// Times from nanoseconds to minutes, as many in each power of two.
std::vector<int64_t> RandomTimes(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<int64_t> times;
  for (size_t i = 0; i < count; ++i) times.push_back(static_cast<int64_t>(random.Bits() >> (22 + random.Below(42))));
  return times;
}

LatencyHistogram HistogramOf(const std::vector<int64_t>& times) {
  LatencyHistogram histogram;
  for (const int64_t time : times) histogram.Record(nanoseconds(time));
  return histogram;
}

// The smallest of sorted times such that the share is not above it.
double PercentileOf(const std::vector<int64_t>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return static_cast<double>(sorted[std::max<size_t>(rank, 1) - 1]) * 1e-9;
}

TEST(LatencyHistogramTest, PercentilesAreThoseOfSortingToAThousandth) {
  for (const size_t count : {1U, 2U, 3U, 10U, 999U, 20'000U}) {
    std::vector<int64_t> times = RandomTimes(count, count);
    const LatencyHistogram histogram = HistogramOf(times);
    std::sort(times.begin(), times.end());
    for (const double share : {0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const double exact = PercentileOf(times, share);
      EXPECT_GE(histogram.Percentile(share), exact * (1 - 1e-12)) << count << " times, " << share;
      EXPECT_LE(histogram.Percentile(share), exact * (1 + kPrecision) + 1e-12) << count << " times, " << share;
    }
  }
}

TEST(LatencyHistogramTest, SmallTimesAreExact) {
  LatencyHistogram histogram;
  for (int i = 0; i < 2048; ++i) histogram.Record(nanoseconds(i));
  EXPECT_EQ(histogram.Percentile(0.5), 1023e-9);
  EXPECT_EQ(histogram.CountUpTo(nanoseconds(100)), 101);
}

TEST(LatencyHistogramTest, ExtremesAndMeanAreExact) {
  const std::vector<int64_t> times = {123'456'789, 1'000'003, 7};
  const LatencyHistogram histogram = HistogramOf(times);
  EXPECT_DOUBLE_EQ(histogram.min(), 7e-9);
  EXPECT_DOUBLE_EQ(histogram.max(), 0.123456789);
  EXPECT_DOUBLE_EQ(histogram.mean(), (123'456'789 + 1'000'003 + 7) * 1e-9 / 3);
  EXPECT_DOUBLE_EQ(histogram.Percentile(1), histogram.max());
}

TEST(LatencyHistogramTest, AddingIsRecordingAll) {
  std::vector<int64_t> all = RandomTimes(500, 1);
  LatencyHistogram sum = HistogramOf(all);
  const std::vector<int64_t> more = RandomTimes(700, 2);
  sum.Add(HistogramOf(more));
  sum.Add(LatencyHistogram());
  all.insert(all.end(), more.begin(), more.end());
  const LatencyHistogram whole = HistogramOf(all);
  EXPECT_EQ(sum.count(), 1200);
  EXPECT_EQ(sum.min(), whole.min());
  EXPECT_EQ(sum.max(), whole.max());
  EXPECT_NEAR(sum.mean(), whole.mean(), 1e-9 * whole.mean());
  for (const double share : {0.0, 0.3, 0.5, 0.99, 1.0}) EXPECT_EQ(sum.Percentile(share), whole.Percentile(share));
}

TEST(LatencyHistogramTest, CountsUpToALimitToAThousandth) {
  std::vector<int64_t> times = RandomTimes(5000, 3);
  const LatencyHistogram histogram = HistogramOf(times);
  std::sort(times.begin(), times.end());
  const auto count_up_to = [&](double limit) {
    return std::upper_bound(times.begin(), times.end(), static_cast<int64_t>(limit)) - times.begin();
  };
  for (const int64_t limit : {0L, 100L, 5'000L, 1'000'000L, 3'000'000'000L}) {
    const auto wide = static_cast<double>(limit) * (1 + kPrecision);
    EXPECT_GE(histogram.CountUpTo(nanoseconds(limit)), count_up_to(static_cast<double>(limit))) << limit;
    EXPECT_LE(histogram.CountUpTo(nanoseconds(limit)), count_up_to(wide)) << limit;
  }
  EXPECT_EQ(histogram.CountUpTo(nanoseconds(-1)), 0);
  EXPECT_EQ(histogram.CountUpTo(std::chrono::hours(10)), histogram.count());
}

TEST(LatencyHistogramTest, TimesOutOfRangeCountAsTheNearest) {
  LatencyHistogram histogram;
  histogram.Record(nanoseconds(-5));
  histogram.Record(std::chrono::hours(100));
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_DOUBLE_EQ(histogram.max(), 4398.046511104);
  EXPECT_EQ(histogram.count(), 2);
}

TEST(LatencyHistogramTest, NothingRecordedIsZero) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.Percentile(0.99), 0);
  EXPECT_EQ(histogram.mean(), 0);
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_EQ(histogram.max(), 0);
  EXPECT_EQ(histogram.CountUpTo(std::chrono::seconds(1)), 0);
}

}  // namespace
}  // namespace attnd::load
