// Jobs that run on the thread that submits them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "core/runtime/executor.h"
#include "tests/support/fake_job.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using testing::ElementsAre;

constexpr double kSpeed = 1e9;
constexpr double kLimit = 50e-6;
// A job that takes as long as the limit at the assumed speed.
constexpr double kLimitFlops = kSpeed * kLimit;

class ExecutorHereTest : public testing::Test {
 protected:
  ExecutorHereTest() {
    Executor::Options options;
    options.workers = 0;
    options.initial_flops_per_second = kSpeed;
    options.run_here_seconds = kLimit;
    executor_ = std::make_unique<Executor>(options, clock_);
  }

  std::shared_ptr<FakeJob> Submit(const std::string& name, double flops) {
    auto job = std::make_shared<FakeJob>(name, 2, &log_);
    EXPECT_THAT(executor_->Submit(job, {.flops = flops}), IsOk());
    return job;
  }

  ManualClock clock_;
  StepLog log_;
  std::unique_ptr<Executor> executor_;
};

TEST_F(ExecutorHereTest, AShortJobIsOverWhenSubmitReturns) {
  const auto job = Submit("a", kLimitFlops / 2);
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:1", "a:done"));
  EXPECT_THAT(*job->result, IsOk());
  EXPECT_FALSE(executor_->RunOne());
  EXPECT_EQ(executor_->Stats().jobs, 0);
  EXPECT_EQ(executor_->Stats().tiles_done, 2);
  EXPECT_EQ(executor_->Stats().flops_done, kLimitFlops / 2);
  EXPECT_TRUE(executor_->AwaitIdle(Time::min()));
}

TEST_F(ExecutorHereTest, AJobOfTheLimitIsLeftToWorkers) {
  const auto job = Submit("a", kLimitFlops);
  EXPECT_EQ(job->prepared, 0);
  EXPECT_EQ(executor_->Stats().waiting, 1);
}

TEST_F(ExecutorHereTest, NoJobPassesOneThatWaits) {
  Submit("long", kLimitFlops * 1000);
  const auto job = Submit("short", kLimitFlops / 2);
  EXPECT_EQ(job->prepared, 0);
  EXPECT_EQ(executor_->Stats().waiting, 2);
}

TEST_F(ExecutorHereTest, OneThatAWorkerHasTakenHoldsNobodyUp) {
  Submit("long", kLimitFlops * 1000);
  ASSERT_TRUE(executor_->RunOne());
  EXPECT_EQ(executor_->Stats().waiting, 0);
  const auto job = Submit("short", kLimitFlops / 2);
  EXPECT_EQ(job->done, 1);
}

TEST_F(ExecutorHereTest, NoJobPassesOneOfAHigherPriority) {
  auto urgent = std::make_shared<FakeJob>("urgent", 2, &log_);
  ASSERT_THAT(executor_->Submit(urgent, {.priority = 1, .flops = kLimitFlops * 1000}), IsOk());
  ASSERT_TRUE(executor_->RunOne());
  const auto job = Submit("short", kLimitFlops / 2);
  EXPECT_EQ(job->prepared, 0);
  auto equal = std::make_shared<FakeJob>("equal", 1, &log_);
  executor_->Cancel(job.get());
  ASSERT_THAT(executor_->Submit(equal, {.priority = 1, .flops = 1}), IsOk());
  EXPECT_EQ(equal->done, 1);
}

TEST_F(ExecutorHereTest, OneThatWasCancelledHoldsNobodyUp) {
  const auto waits = Submit("long", kLimitFlops * 1000);
  executor_->Cancel(waits.get());
  EXPECT_EQ(Submit("short", kLimitFlops / 2)->done, 1);
}

TEST_F(ExecutorHereTest, AllStagesRun) {
  auto job = std::make_shared<FakeJob>("a", 1, &log_);
  job->more_stages = {2};
  ASSERT_THAT(executor_->Submit(job, {.flops = 1}), IsOk());
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:stage", "a:0", "a:1", "a:done"));
}

TEST_F(ExecutorHereTest, AFailureEndsTheJob) {
  auto unprepared = std::make_shared<FakeJob>("a", 2, &log_);
  unprepared->prepare_status = absl::ResourceExhaustedError("no memory");
  ASSERT_THAT(executor_->Submit(unprepared, {.flops = 1}), IsOk());
  EXPECT_EQ(unprepared->result->code(), absl::StatusCode::kResourceExhausted);
  auto failing = std::make_shared<FakeJob>("b", 3, &log_);
  failing->failing_tile = 1;
  ASSERT_THAT(executor_->Submit(failing, {.flops = 1}), IsOk());
  EXPECT_EQ(failing->result->code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:done", "b:prepare", "b:0", "b:1", "b:done"));
}

TEST_F(ExecutorHereTest, TimingsHaveNoWaiting) {
  auto job = std::make_shared<FakeJob>("a", 2);
  job->on_prepare = [this] { clock_.Advance(nanoseconds(300)); };
  job->on_tile = [this] { clock_.Advance(nanoseconds(500)); };
  ASSERT_THAT(executor_->Submit(job, {.flops = 1}), IsOk());
  EXPECT_EQ(job->timings.queue, Duration(0));
  EXPECT_EQ(job->timings.prepare, nanoseconds(300));
  EXPECT_EQ(job->timings.compute, nanoseconds(1000));
}

TEST_F(ExecutorHereTest, AdmissionComesFirst) {
  auto late = std::make_shared<FakeJob>("late", 1);
  EXPECT_EQ(executor_->Submit(late, {.deadline = clock_.Now() - milliseconds(1), .flops = 1}).code(),
            absl::StatusCode::kDeadlineExceeded);
  executor_->StopAdmission();
  auto draining = std::make_shared<FakeJob>("draining", 1);
  EXPECT_EQ(executor_->Submit(draining, {.flops = 1}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(late->prepared + late->done + draining->prepared + draining->done, 0);
}

TEST_F(ExecutorHereTest, AJobMaySubmitAnother) {
  auto first = std::make_shared<FakeJob>("first", 1, &log_);
  first->on_done = [this] { Submit("second", 1); };
  ASSERT_THAT(executor_->Submit(first, {.flops = 1}), IsOk());
  EXPECT_THAT(log_, ElementsAre("first:prepare", "first:0", "first:done", "second:prepare", "second:0", "second:1",
                                "second:done"));
}

}  // namespace
}  // namespace attnd
