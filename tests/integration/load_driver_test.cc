// What the load driver measures, against a server that is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "client/load/driver.h"
#include "tests/support/fake_attention.h"
#include "tests/support/load_plans.h"
#include "tests/support/sanitizers.h"

namespace attnd::load {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::Key;

FakeAttentionOptions Serving(Duration service_time, int servers = 1) {
  FakeAttentionOptions options;
  options.service_time = service_time;
  options.servers = servers;
  return options;
}

// A call takes 1 ms, but nothing happens for the first 100 ms of each second.
FakeAttentionOptions Stalling() {
  FakeAttentionOptions options = Serving(milliseconds(1));
  options.stall = milliseconds(100);
  options.stall_every = seconds(1);
  return options;
}

TEST(LoadDriverTest, OpenLoopShowsStallsThatOneCallerHardlySees) {
  FakeAttention server(Stalling());
  const auto open =
      RunLoad({.addresses = {server.address()}}, {MakeWork()}, OpenLoop(LoadModel::kConstant, 200, milliseconds(2500)));
  // A tenth of the calls was due during a stall, and waited for half of it on average.
  EXPECT_GT(open.response.Percentile(0.99), 0.080);
  EXPECT_GT(open.response.Percentile(0.95), 0.030);
  EXPECT_LT(open.response.Percentile(0.5), 0.020);

  const auto closed = RunLoad({.addresses = {server.address()}}, {MakeWork()}, ClosedLoop(1, milliseconds(2500)));
  // It met each stall once.
  EXPECT_GT(closed.service.max(), 0.080);
  EXPECT_LT(closed.service.Percentile(0.99), 0.030);
}

TEST(LoadDriverTest, ServiceTimeAloneHidesWhatResponseTimeShows) {
  FakeAttention server(Stalling());
  const auto run = RunLoad({.addresses = {server.address()}, .max_in_flight = 1}, {MakeWork()},
                           OpenLoop(LoadModel::kConstant, 200, milliseconds(2500)));
  EXPECT_EQ(run.answered, 500);
  EXPECT_GT(run.response.Percentile(0.99), 0.080);
  EXPECT_GT(run.send_delay.Percentile(0.99), 0.060);
  EXPECT_LT(run.service.Percentile(0.95), 0.030);
}

// What sanitizers cost leaves no time for thousands of calls a second.
std::vector<double> OpenLoopRates() { return kSanitized ? std::vector{500.0} : std::vector{500.0, 5000.0}; }

RunResult RunOpenLoop(LoadModel model, double rate) {
  FakeAttention server(Serving(Duration(0)));
  return RunLoad({.addresses = {server.address()}}, {MakeWork()}, OpenLoop(model, rate, milliseconds(1000)));
}

double ShareLaterThan(Duration delay, const RunResult& run) {
  return 1 - static_cast<double>(run.send_delay.CountUpTo(delay)) / static_cast<double>(run.send_delay.count());
}

// Whatever else the machine does makes single sends late, but not half of them by so much in all of a few runs.
void ExpectSendsInTime(LoadModel model, double rate, double rate_tolerance) {
  std::string runs;
  for (int i = 0; i < 5; ++i) {
    const RunResult run = RunOpenLoop(model, rate);
    const double delay = run.send_delay.Percentile(0.5);
    if (std::abs(run.arrivals->rate_sent / rate - 1) < rate_tolerance && delay < 0.002) return;
    runs += "\nsent " + std::to_string(run.arrivals->rate_sent) + "/s, half of it later than " + std::to_string(delay) +
            " s";
  }
  ADD_FAILURE() << "at " << rate << "/s:" << runs;
}

TEST(LoadDriverTest, SendsInTime) {
  for (const double rate : OpenLoopRates()) {
    ExpectSendsInTime(LoadModel::kConstant, rate, 0.02);
    // Five deviations of what chance makes of the number.
    ExpectSendsInTime(LoadModel::kPoisson, rate, 5 / std::sqrt(rate));
  }
}

// Sends that are at most d late change a gap by at most d, those that are later two gaps by anything. So however busy
// the machine is, gaps are no farther from exponential ones than the lateness that was measured makes them.
TEST(LoadDriverTest, PoissonArrivalsArePoissonButForWhatIsLate) {
  constexpr double kKolmogorov999Over95 = 1.9495 / 1.3581;
  for (const double rate : OpenLoopRates()) {
    const RunResult run = RunOpenLoop(LoadModel::kPoisson, rate);
    double late = 1;
    for (Duration delay = microseconds(5); delay < seconds(1); delay *= 2) {
      late = std::min(late, 2 * ShareLaterThan(delay, run) - std::expm1(-rate * Seconds(delay)));
    }
    EXPECT_LE(run.arrivals->distance, kKolmogorov999Over95 * run.arrivals->distance_limit + late) << rate << "/s";
  }
}

TEST(LoadDriverTest, ConstantArrivalsAreCountedAsLateThatWereSo) {
  for (const double rate : OpenLoopRates()) {
    const RunResult run = RunOpenLoop(LoadModel::kConstant, rate);
    const auto late =
        static_cast<int64_t>(std::round(run.arrivals->distance * static_cast<double>(run.send_delay.count())));
    const auto later_than = [&](double gaps) {
      const auto delay = Duration(static_cast<int64_t>(gaps / rate * 1e9));
      return run.send_delay.count() - run.send_delay.CountUpTo(delay);
    };
    // A tenth of a gap, to the precision of the histogram.
    EXPECT_GE(late, later_than(0.101)) << rate << "/s";
    EXPECT_LE(late, later_than(0.099)) << rate << "/s";
  }
}

TEST(LoadDriverTest, RampSendsWhatItsRatesAddUpTo) {
  FakeAttention server(Serving(Duration(0)));
  RunPlan plan = OpenLoop(LoadModel::kRamp, 100, seconds(1));
  plan.point.end_rate = 500;
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan);
  EXPECT_NEAR(static_cast<double>(run.calls), 300, 1);
  EXPECT_EQ(run.arrivals->rate_wanted, 300);
}

TEST(LoadDriverTest, ClosedLoopFindsTheCapacityOfTheServer) {
  FakeAttention server(Serving(microseconds(2500)));
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, ClosedLoop(4, milliseconds(1500)));
  EXPECT_DOUBLE_EQ(run.seconds, 1.5);
  const double throughput = static_cast<double>(run.answered) / run.seconds;
  EXPECT_LT(throughput, 410);
  EXPECT_GT(throughput, kSanitized ? 100 : 340);
  // Little's law.
  EXPECT_NEAR(run.response.mean() * throughput, 4, 0.3);
  EXPECT_THAT(run.statuses, ElementsAre(Key("OK")));
  EXPECT_EQ(run.flops, 1000.0 * static_cast<double>(run.answered));
  EXPECT_GT(run.client.cpu_seconds, 0);
}

TEST(LoadDriverTest, ClosedLoopOfSomeCallsEndsAfterThem) {
  FakeAttention server(Serving(milliseconds(2)));
  RunPlan plan = ClosedLoop(4, seconds(60));
  plan.calls = 101;
  const auto run = RunLoad({.addresses = {server.address()}, .threads = 2}, {MakeWork()}, plan);
  EXPECT_EQ(run.calls, 101);
  EXPECT_EQ(run.answered, 101);
  EXPECT_EQ(server.calls(), 101);
  EXPECT_GE(run.seconds, 0.2);
  EXPECT_LT(run.seconds, 2);
}

TEST(LoadDriverTest, OpenLoopOfSomeCallsEndsWhenTheNextWouldBeDue) {
  FakeAttention server(Serving(Duration(0)));
  RunPlan plan = OpenLoop(LoadModel::kConstant, 500, seconds(60));
  plan.calls = 100;
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan);
  EXPECT_EQ(run.answered, 100);
  EXPECT_EQ(server.calls(), 100);
  EXPECT_NEAR(run.seconds, 0.2, 1e-6);
}

TEST(LoadDriverTest, WarmUpIsNotMeasured) {
  FakeAttentionOptions options = Serving(Duration(0));
  options.answer = [](int64_t call) {
    FakeAnswer answer;
    if (call < 50) answer.status = {grpc::StatusCode::INTERNAL, "still cold"};
    return answer;
  };
  FakeAttention server(options);
  RunPlan plan = OpenLoop(LoadModel::kConstant, 200, milliseconds(500));
  plan.warm_up = milliseconds(500);
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan);
  EXPECT_EQ(run.answered, 100);
  EXPECT_EQ(server.calls(), 200);
  EXPECT_THAT(run.statuses, ElementsAre(Key("OK")));
  EXPECT_DOUBLE_EQ(run.warm_up_seconds, 0.5);
}

TEST(LoadDriverTest, SlowAnswersAtTheEndAreWaitedFor) {
  FakeAttention server(Serving(milliseconds(300), /*servers=*/100));
  const auto run =
      RunLoad({.addresses = {server.address()}}, {MakeWork()}, OpenLoop(LoadModel::kConstant, 100, milliseconds(500)));
  EXPECT_EQ(run.answered, 50);
  EXPECT_GT(run.response.min(), 0.299);
}

TEST(LoadDriverTest, RatesBeyondTheCapacityShowInResponseTimesAndThroughput) {
  FakeAttention server(Serving(milliseconds(5)));
  const auto run =
      RunLoad({.addresses = {server.address()}}, {MakeWork()}, OpenLoop(LoadModel::kConstant, 400, milliseconds(1000)));
  EXPECT_EQ(run.answered, 400);
  // The last call waited for 399 of 5 ms, but was due a second after the first.
  EXPECT_NEAR(run.response.max(), 1.0, 0.3);
  EXPECT_NEAR(static_cast<double>(run.answered) / run.seconds, 200, 30);
  EXPECT_THAT(run.warnings, ::testing::Contains(::testing::HasSubstr("The server fell behind")));
  EXPECT_FALSE(run.stability.reached);
}

TEST(LoadDriverTest, CallsBeyondTheLimitInFlightWaitInTheirResponseTime) {
  FakeAttention server(Serving(milliseconds(5)));
  const auto run = RunLoad({.addresses = {server.address()}, .max_in_flight = 2}, {MakeWork()},
                           OpenLoop(LoadModel::kPoisson, 400, milliseconds(500)));
  EXPECT_EQ(run.answered, run.calls);
  EXPECT_GT(run.response.max(), 0.3);
  EXPECT_LT(run.service.Percentile(0.9), 0.03);
}

TEST(LoadDriverTest, GoodCallsAreThoseWithinTheLatency) {
  FakeAttention server(Serving(milliseconds(20), /*servers=*/8));
  RunPlan plan = ClosedLoop(2, milliseconds(300));
  plan.good_latency = milliseconds(10);
  EXPECT_EQ(RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan).good, 0);
  plan.good_latency = seconds(10);
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan);
  EXPECT_EQ(run.good, run.answered);
}

TEST(LoadDriverTest, WorksAreChosenByWeightAndSeed) {
  FakeAttention server(Serving(Duration(0)));
  RunPlan plan = ClosedLoop(3, seconds(60));
  plan.calls = 400;
  const auto counts = [&](uint64_t seed) {
    const auto run =
        RunLoad({.addresses = {server.address()}, .seed = seed}, {MakeWork("one", 1), MakeWork("three", 3)}, plan);
    return std::vector<int64_t>{run.works.at(0).calls, run.works.at(1).calls};
  };
  const auto first = counts(1);
  EXPECT_EQ(first[0] + first[1], 400);
  EXPECT_NEAR(static_cast<double>(first[0]), 100, 40);
  EXPECT_EQ(counts(1), first);
}

TEST(LoadDriverTest, AddressesTakeTurns) {
  FakeAttention left(Serving(Duration(0)));
  FakeAttention right(Serving(Duration(0)));
  const std::vector<std::string> addresses = {left.address(), right.address()};
  RunPlan plan = ClosedLoop(4, seconds(60));
  plan.calls = 200;
  for (const int threads : {1, 2, 3}) {
    const int64_t left_before = left.calls();
    const int64_t right_before = right.calls();
    RunLoad({.addresses = addresses, .channels = 2, .threads = threads}, {MakeWork()}, plan);
    EXPECT_NEAR(static_cast<double>(left.calls() - left_before), 100, threads);
    EXPECT_NEAR(static_cast<double>(right.calls() - right_before), 100, threads);
  }
}

TEST(LoadDriverTest, ThreadsShareTheRate) {
  FakeAttention server(Serving(Duration(0)));
  const auto run = RunLoad({.addresses = {server.address()}, .threads = 3}, {MakeWork()},
                           OpenLoop(LoadModel::kConstant, 300, milliseconds(500)));
  EXPECT_EQ(run.answered, 150);
  EXPECT_NEAR(run.arrivals->rate_sent, 300, 10);
}

TEST(LoadDriverTest, SecondsOfTheRunAddUp) {
  FakeAttention server(Serving(Duration(0)));
  const auto run =
      RunLoad({.addresses = {server.address()}}, {MakeWork()}, OpenLoop(LoadModel::kConstant, 100, milliseconds(2500)));
  ASSERT_EQ(run.intervals.size(), 3);
  int64_t meant = 0;
  for (const Interval& interval : run.intervals) meant += interval.response.count();
  EXPECT_EQ(meant, 250);
  EXPECT_DOUBLE_EQ(run.intervals[2].begin, 2);
  EXPECT_NEAR(static_cast<double>(run.intervals[1].answered), 100, 10);
}

TEST(LoadDriverTest, TellsHowFarItIs) {
  FakeAttention server(Serving(milliseconds(1)));
  RunPlan plan = ClosedLoop(1, milliseconds(1000));
  plan.warm_up = milliseconds(600);
  std::vector<Progress> reports;
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan, false,
                           [&](const Progress& progress) { reports.push_back(progress); });
  ASSERT_GE(reports.size(), 4);
  EXPECT_TRUE(reports.front().warming_up);
  EXPECT_FALSE(reports.back().warming_up);
  EXPECT_NEAR(reports.front().seconds + reports.front().seconds_left, 1.6, 0.05);
  EXPECT_GT(reports.back().rate, 100);
  EXPECT_GT(reports.back().p50, 0.001);
  EXPECT_GT(reports.back().answered, reports.front().answered);
}

}  // namespace
}  // namespace attnd::load
