#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "client/load/capacity.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/simulated_load.h"

namespace attnd::load {
namespace {

CapacityOptions OptionsFor(const std::string& objective) {
  CapacityOptions options;
  options.objective = ParseObjective(objective).value();
  return options;
}

// A server with one worker. Its capacity is that of a queue which is watched for so long
// that chance has no part in it.
class CapacityTest : public ::testing::Test {
 protected:
  static Simulation At(double rate, double length, uint64_t seed) {
    Simulation simulation;
    simulation.point.rate = rate;
    simulation.service = kService;
    simulation.length = length;
    simulation.seed = seed;
    simulation.by_second = false;
    return simulation;
  }

  static double TrueCapacity(const Objective& objective) {
    double low = 1;
    double high = 1 / kService;
    for (int i = 0; i < 12; ++i) {
      const double middle = (low + high) / 2;
      (Holds(objective, Simulate(At(middle, 2000, 99))) ? low : high) = middle;
    }
    return low;
  }

  static constexpr double kService = 2e-3;
  std::atomic<bool> stop_ = false;
};

TEST_F(CapacityTest, LandsWithinATenthOfAQueuesCapacity) {
  const CapacityOptions options = OptionsFor("p99=20ms");
  const double capacity = TrueCapacity(options.objective);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t probes = 0;
    const auto found = FindCapacity(
        options, [&](double rate) { return Simulate(At(rate, 5, 1000 * seed + ++probes)); }, stop_);
    ASSERT_THAT(found, IsOk());
    EXPECT_TRUE(found->finished);
    EXPECT_NEAR(found->capacity.rate, capacity, 0.1 * capacity) << "seed " << seed;
    EXPECT_GT(found->capacity.failed_rate, found->capacity.rate);
    EXPECT_EQ(static_cast<size_t>(found->capacity.probes), found->probes.size());
    EXPECT_EQ(found->capacity.objective, "p99=20ms");
  }
}

// One probe in eight is spoilt by something that has nothing to do with the server.
TEST_F(CapacityTest, IsNotMisledByNoise) {
  const CapacityOptions options = OptionsFor("p99=20ms");
  const double capacity = TrueCapacity(options.objective);
  int within = 0;
  constexpr int kSearches = 30;
  for (uint64_t seed = 0; seed < kSearches; ++seed) {
    Random random(seed);
    const auto found = FindCapacity(
        options,
        [&](double rate) {
          Simulation simulation = At(rate, 5, random.Bits());
          if (random.Below(8) == 0) simulation.stall = 0.3;
          return Simulate(simulation);
        },
        stop_);
    ASSERT_THAT(found, IsOk());
    if (std::fabs(found->capacity.rate - capacity) <= 0.1 * capacity) ++within;
    EXPECT_GT(found->capacity.rate, 0.5 * capacity) << "seed " << seed;
    EXPECT_LT(found->capacity.rate, 1.1 * capacity) << "seed " << seed;
  }
  EXPECT_GE(within, kSearches - 2);
}

// A capacity that is a matter of the share of refused calls.
TEST_F(CapacityTest, FindsWhereErrorsBegin) {
  const CapacityOptions options = OptionsFor("p99=1s,errors=1%");
  const auto found = FindCapacity(
      options,
      [](double rate) {
        Simulation simulation = At(rate, 20, 7);
        simulation.longest_queue = 32;
        return Simulate(simulation);
      },
      stop_);
  ASSERT_THAT(found, IsOk());
  EXPECT_NEAR(found->capacity.rate, 1 / kService, 0.1 / kService);
}

// What a probe says of a rate, as a rule that is not of chance.
RunResult Ruled(double rate, bool holds) {
  RunResult run;
  run.point = {.model = LoadModel::kPoisson, .concurrency = 1, .rate = rate, .end_rate = 0};
  run.calls = run.answered = 100;
  for (int i = 0; i < 100; ++i) run.response.Record(std::chrono::milliseconds(holds ? 19 : 21));
  return run;
}

TEST_F(CapacityTest, GoesDownFromAStartThatIsTooHigh) {
  CapacityOptions options = OptionsFor("p50=20ms");
  options.start_rate = 5000;
  const auto found = FindCapacity(
      options, [](double rate) { return Ruled(rate, rate <= 70); }, stop_);
  ASSERT_THAT(found, IsOk());
  EXPECT_LE(found->capacity.rate, 70);
  EXPECT_GT(found->capacity.rate, 70 / 1.06);
  EXPECT_LE(found->capacity.failed_rate, 70 * 1.06);
}

// One call in twenty is slow at any rate, which a probe of few calls may not show.
TEST_F(CapacityTest, IsNotFooledByProbesOfFewCalls) {
  Random random(3);
  CapacityOptions options = OptionsFor("p99=20ms");
  options.start_rate = 8;
  options.min_rate = 4;
  options.max_probes = 200;
  int held = 0;
  for (int search = 0; search < 20; ++search) {
    const auto found = FindCapacity(
        options,
        [&](double rate) {
          RunResult run;
          run.point = {.model = LoadModel::kPoisson, .concurrency = 1, .rate = rate, .end_rate = 0};
          run.calls = run.answered = static_cast<int64_t>(5 * rate);
          for (int64_t i = 0; i < run.calls; ++i) {
            run.response.Record(std::chrono::milliseconds(random.Below(20) == 0 ? 30 : 1));
          }
          return run;
        },
        stop_);
    ASSERT_THAT(found, IsOk());
    if (found->capacity.rate > 0) ++held;
  }
  EXPECT_LE(held, 4);
}

TEST_F(CapacityTest, SaysSoIfNoRateHolds) {
  CapacityOptions options = OptionsFor("p50=20ms");
  options.min_rate = 10;
  const auto found = FindCapacity(
      options, [](double rate) { return Ruled(rate, false); }, stop_);
  ASSERT_THAT(found, IsOk());
  EXPECT_TRUE(found->finished);
  EXPECT_EQ(found->capacity.rate, 0);
  EXPECT_EQ(found->capacity.failed_rate, 10);
}

TEST_F(CapacityTest, EndsAtTheHighestRateIfAllHold) {
  CapacityOptions options = OptionsFor("p50=20ms");
  options.max_rate = 1000;
  const auto found = FindCapacity(
      options, [](double rate) { return Ruled(rate, true); }, stop_);
  ASSERT_THAT(found, IsOk());
  EXPECT_TRUE(found->finished);
  EXPECT_EQ(found->capacity.rate, 1000);
  EXPECT_EQ(found->capacity.failed_rate, 0);
}

TEST_F(CapacityTest, EndsWithWhatItHasWhenStopped) {
  const auto found = FindCapacity(
      OptionsFor("p50=20ms"),
      [&](double rate) {
        stop_ = rate > 400;
        RunResult run = Ruled(rate, true);
        run.interrupted = stop_;
        return run;
      },
      stop_);
  ASSERT_THAT(found, IsOk());
  EXPECT_FALSE(found->finished);
  EXPECT_EQ(found->capacity.rate, 400);
}

TEST_F(CapacityTest, EndsAfterTheMostProbes) {
  CapacityOptions options = OptionsFor("p50=20ms");
  options.max_probes = 6;
  const auto found = FindCapacity(
      options, [](double rate) { return Ruled(rate, true); }, stop_);
  ASSERT_THAT(found, IsOk());
  EXPECT_FALSE(found->finished);
  EXPECT_EQ(found->probes.size(), 6);
  EXPECT_EQ(found->capacity.rate, 400);
}

TEST_F(CapacityTest, FailsIfAProbeFails) {
  const auto found = FindCapacity(
      OptionsFor("p50=20ms"), [](double) { return absl::UnavailableError("no server"); }, stop_);
  EXPECT_THAT(found, IsError(absl::StatusCode::kUnavailable, "no server"));
}

}  // namespace
}  // namespace attnd::load
