// What the load driver makes of servers that refuse, are slow, or are not there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>

#include "client/load/driver.h"
#include "tests/integration/fake_server.h"
#include "tests/support/fake_attention.h"
#include "tests/support/load_plans.h"
#include "tests/support/status_matchers.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;

constexpr milliseconds kPause{30};

// Refuses every second call.
FakeAttentionOptions Refusing(int pushback_ms) {
  FakeAttentionOptions options;
  options.answer = [pushback_ms](int64_t call) {
    FakeAnswer answer;
    if (call % 2 == 0) {
      answer.status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"};
      answer.pushback_ms = pushback_ms;
    }
    return answer;
  };
  return options;
}

TEST(LoadFailuresTest, RefusedCallsAreSentAgainAfterTheHint) {
  FakeAttention server(Refusing(kPause.count()));
  RunPlan plan = ClosedLoop(1, seconds(60));
  plan.calls = 10;
  const auto run = RunLoad({.addresses = {server.address()}, .max_attempts = 3}, {MakeWork()}, plan);
  EXPECT_EQ(run.answered, 10);
  EXPECT_EQ(run.retries, 10);
  EXPECT_EQ(run.pushbacks, 10);
  EXPECT_EQ(server.calls(), 20);
  EXPECT_THAT(run.statuses, ElementsAre(Key("OK")));
  EXPECT_GE(run.response.min(), 0.9 * Seconds(kPause));
  EXPECT_LT(run.service.Percentile(0.5), Seconds(kPause));
}

TEST(LoadFailuresTest, PausesHoldUpNobody) {
  FakeAttention server(Refusing(/*pushback_ms=*/300));
  RunPlan plan = OpenLoop(LoadModel::kConstant, 100, milliseconds(500));
  const auto run = RunLoad({.addresses = {server.address()}, .max_attempts = 20}, {MakeWork()}, plan);
  EXPECT_EQ(run.answered, 50);
  EXPECT_LT(run.send_delay.Percentile(0.9), 0.1);
}

TEST(LoadFailuresTest, RefusalsAreCountedIfNotSentAgain) {
  FakeAttention server(Refusing(kPause.count()));
  RunPlan plan = ClosedLoop(1, seconds(60));
  plan.calls = 20;
  const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan);
  EXPECT_EQ(run.calls, 20);
  EXPECT_EQ(run.answered, 10);
  EXPECT_EQ(run.retries, 0);
  EXPECT_EQ(run.pushbacks, 10);
  ASSERT_THAT(run.statuses, ElementsAre(Key("OK"), Key("RESOURCE_EXHAUSTED")));
  EXPECT_EQ(run.statuses.at("RESOURCE_EXHAUSTED").calls, 10);
  EXPECT_EQ(run.statuses.at("RESOURCE_EXHAUSTED").first_message, "the queue is full");
  EXPECT_EQ(run.response.count(), 10);
}

TEST(LoadFailuresTest, NegativeHintsForbidAnotherAttempt) {
  FakeAttention server(Refusing(/*pushback_ms=*/-1));
  RunPlan plan = ClosedLoop(1, seconds(60));
  plan.calls = 4;
  const auto run = RunLoad({.addresses = {server.address()}, .max_attempts = 5}, {MakeWork()}, plan);
  EXPECT_EQ(run.answered, 2);
  EXPECT_EQ(run.retries, 0);
  EXPECT_EQ(run.pushbacks, 0);
}

TEST(LoadFailuresTest, StopEndsARunWithWhatThereIs) {
  for (const LoadModel model : {LoadModel::kClosed, LoadModel::kPoisson}) {
    FakeAttentionOptions options;
    // The first ones are quick.
    options.service_time = milliseconds(50);
    options.servers = 2;
    FakeAttention server(options);
    RunPlan plan = OpenLoop(model, 100, seconds(60));
    plan.point.concurrency = 16;
    std::atomic<bool> stop{false};
    Time stopped;
    const auto run = RunLoad({.addresses = {server.address()}}, {MakeWork()}, plan, stop, [&](const Progress&) {
      if (!stop) stopped = Clock::Real().Now();
      stop = true;
    });
    EXPECT_LT(Seconds(Clock::Real().Now() - stopped), 0.5);
    EXPECT_TRUE(run.interrupted);
    EXPECT_GT(run.answered, 4);
    EXPECT_THAT(run.statuses, ElementsAre(Key("OK")));
    EXPECT_GT(run.seconds, 0.2);
    EXPECT_LT(run.seconds, 5);
  }
}

TEST(LoadFailuresTest, StopEndsPauses) {
  FakeAttention server(Refusing(/*pushback_ms=*/60'000));
  std::atomic<bool> stop{false};
  const Time begin = Clock::Real().Now();
  const auto run = RunLoad({.addresses = {server.address()}, .timeout = milliseconds(0), .max_attempts = 2},
                           {MakeWork()}, ClosedLoop(4, seconds(60)), stop, [&](const Progress&) { stop = true; });
  EXPECT_LT(Seconds(Clock::Real().Now() - begin), 5);
  EXPECT_TRUE(run.interrupted);
}

TEST(LoadFailuresTest, ServersThatGoAndComeBackAreSeenToDoSo) {
  for (const LoadModel model : {LoadModel::kClosed, LoadModel::kConstant}) {
    auto server = std::make_unique<FakeAttention>(FakeAttentionOptions{});
    FakeAttentionOptions second;
    second.port = server->port();
    RunPlan plan = OpenLoop(model, 200, milliseconds(3500));
    plan.point.concurrency = 2;
    int reports = 0;
    const std::string address = server->address();
    const auto run = RunLoad({.addresses = {address}}, {MakeWork()}, plan, false, [&](const Progress&) {
      ++reports;
      if (reports == 2) server.reset();
      if (reports == 3) server = std::make_unique<FakeAttention>(second);
    });
    EXPECT_GT(run.statuses.at("UNAVAILABLE").calls, 0);
    // Not of a tight loop.
    EXPECT_LT(run.statuses.at("UNAVAILABLE").calls, 1000);
    EXPECT_NE(run.statuses.at("UNAVAILABLE").first_message, "");
    ASSERT_EQ(run.intervals.size(), 4);
    EXPECT_GT(run.intervals[0].answered, 0);
    EXPECT_GT(run.intervals[3].answered, 0);
    EXPECT_EQ(run.intervals[3].failed, 0);
  }
}

TEST(LoadFailuresTest, AttemptsOutlastARestart) {
  auto server = std::make_unique<FakeAttention>(FakeAttentionOptions{});
  FakeAttentionOptions second;
  second.port = server->port();
  RunPlan plan = OpenLoop(LoadModel::kConstant, 50, milliseconds(1500));
  int reports = 0;
  const auto run =
      RunLoad({.addresses = {server->address()}, .max_attempts = 20}, {MakeWork()}, plan, false, [&](const Progress&) {
        ++reports;
        if (reports == 2) server.reset();
        if (reports == 3) server = std::make_unique<FakeAttention>(second);
      });
  EXPECT_EQ(run.answered, 75);
  EXPECT_GT(run.retries, 0);
}

TEST(LoadFailuresTest, CallsEndAtTheirDeadline) {
  FakeAttentionOptions options;
  options.service_time = milliseconds(400);
  FakeAttention server(options);
  RunPlan plan = OpenLoop(LoadModel::kConstant, 20, milliseconds(500));
  const auto run = RunLoad({.addresses = {server.address()}, .timeout = milliseconds(100)}, {MakeWork()}, plan);
  EXPECT_EQ(run.answered, 0);
  // They took at least as long as they were waited for.
  EXPECT_EQ(run.response.count(), 10);
  EXPECT_GT(run.response.min(), 0.099);
  EXPECT_EQ(run.statuses.at("DEADLINE_EXCEEDED").calls, 10);
  EXPECT_EQ(run.statuses.at("DEADLINE_EXCEEDED").first_message, "no answer from " + server.address() + " in time");
}

TEST(LoadFailuresTest, DeadlinesCountFromTheIntendedTime) {
  FakeAttentionOptions options;
  options.service_time = milliseconds(50);
  FakeAttention server(options);
  RunPlan plan = OpenLoop(LoadModel::kConstant, 200, milliseconds(300));
  const auto run =
      RunLoad({.addresses = {server.address()}, .timeout = milliseconds(180), .max_in_flight = 1}, {MakeWork()}, plan);
  EXPECT_EQ(run.calls, 60);
  EXPECT_GT(run.answered, 0);
  EXPECT_EQ(run.answered + run.statuses.at("DEADLINE_EXCEEDED").calls, 60);
  EXPECT_LT(run.answered, 10);
  EXPECT_LT(run.response.max(), 0.5);
}

TEST(LoadFailuresTest, CallsThatAStopGivesUpAreCounted) {
  for (const LoadModel model : {LoadModel::kClosed, LoadModel::kConstant}) {
    FakeAttentionOptions options;
    // As good as for ever.
    options.service_time = seconds(1000);
    FakeAttention server(options);
    RunPlan plan = OpenLoop(model, 40, seconds(60));
    plan.point.concurrency = 8;
    std::atomic<bool> stop{false};
    const auto run = RunLoad({.addresses = {server.address()}, .max_in_flight = 2}, {MakeWork()}, plan, stop,
                             [&](const Progress&) { stop = true; });
    EXPECT_TRUE(run.interrupted);
    EXPECT_EQ(run.calls, 0);
    // Nothing told of it before 250 ms, in which 10 were due.
    EXPECT_GE(run.given_up, model == LoadModel::kClosed ? 8 : 10);
    EXPECT_GT(run.longest_given_up, 0.2);
    EXPECT_THAT(run.warnings, Contains(HasSubstr("given up unanswered")));
  }
}

TEST(LoadFailuresTest, NoServerIsSaidAtOnce) {
  FakeAttention server(FakeAttentionOptions{});
  const std::string nobody = UnusedAddress();
  const std::vector<Work> works = {MakeWork()};
  Driver driver({.addresses = {server.address(), nobody}}, works, nullptr);
  const Time begin = Clock::Real().Now();
  EXPECT_THAT(driver.Connect(/*stop=*/false),
              IsError(absl::StatusCode::kUnavailable, "no server at " + nobody + " (Connection refused)"));
  EXPECT_LT(Seconds(Clock::Real().Now() - begin), 2);
}

TEST(LoadFailuresTest, PlansWithoutSenseAreNotRun) {
  const std::vector<Work> works = {MakeWork()};
  const auto fails = [&](const DriverOptions& options, const RunPlan& plan, const std::string& field) {
    Driver driver(options, works, nullptr);
    EXPECT_THAT(driver.Run(plan, false, nullptr).status(), IsError(absl::StatusCode::kInvalidArgument, field));
  };
  const DriverOptions some = {.addresses = {"127.0.0.1:1"}};
  const RunPlan closed = ClosedLoop(1, seconds(1));
  fails({}, closed, "addresses");
  fails({.addresses = some.addresses, .channels = 0}, closed, "channels");
  fails({.addresses = some.addresses, .threads = 0}, closed, "threads");
  fails({.addresses = some.addresses, .max_in_flight = 0}, closed, "max_in_flight");
  fails({.addresses = some.addresses, .timeout = milliseconds(-1)}, closed, "timeout");
  fails(some, ClosedLoop(0, seconds(1)), "concurrency");
  fails(some, ClosedLoop(1, seconds(0)), "duration");
  fails(some, OpenLoop(LoadModel::kPoisson, 0, seconds(1)), "rate");
  fails(some, OpenLoop(LoadModel::kRamp, 0, seconds(1)), "rate");
  fails(some, OpenLoop(LoadModel::kConstant, std::nan(""), seconds(1)), "rate");
  RunPlan none = closed;
  none.calls = 0;
  fails(some, none, "calls");
  const std::vector<Work> nothing;
  Driver idle(some, nothing, nullptr);
  EXPECT_THAT(idle.Run(closed, false, nullptr).status(), IsError(absl::StatusCode::kInvalidArgument, "works"));
}

}  // namespace
}  // namespace attnd::load
