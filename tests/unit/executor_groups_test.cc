// Jobs of several stages, and jobs that are computed together.
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

using std::chrono::seconds;
using testing::ElementsAre;

class ExecutorGroupsTest : public testing::Test {
 protected:
  std::shared_ptr<FakeJob> Make(const std::string& name, int64_t tiles) {
    auto job = std::make_shared<FakeJob>(name, tiles, &log_);
    job->joins = true;
    return job;
  }
  std::shared_ptr<FakeJob> Submit(const std::string& name, int64_t tiles, const JobSpec& spec) {
    auto job = Make(name, tiles);
    EXPECT_THAT(executor_->Submit(job, spec), IsOk());
    return job;
  }
  std::shared_ptr<FakeJob> Shared(const std::string& name) {
    return Submit(name, 2, {.flops = 1e9, .bytes = 10, .share_key = this});
  }
  void Drain() {
    while (executor_->RunOne()) {
    }
  }
  void ExpectNothingLeft() {
    const ExecutorStats stats = executor_->Stats();
    EXPECT_EQ(stats.jobs, 0);
    EXPECT_EQ(stats.bytes, 0);
    EXPECT_EQ(stats.predicted_seconds, 0);
  }

  StepLog log_;
  ManualClock clock_;
  std::unique_ptr<Executor> executor_ = std::make_unique<Executor>(
      Executor::Options{.workers = 0, .max_jobs = 4, .initial_flops_per_second = 1e9}, clock_);
};

TEST_F(ExecutorGroupsTest, AStageBeginsWhenTheOneBeforeIsDone) {
  const auto job = Make("a", 2);
  job->more_stages = {1, 2};
  ASSERT_THAT(executor_->Submit(job, {}), IsOk());
  Drain();
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:1", "a:stage", "a:0", "a:stage", "a:0", "a:1", "a:done"));
  EXPECT_THAT(*job->result, IsOk());
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, StagesThatPrepareCountAsPreparing) {
  const auto job = Make("a", 2);
  job->more_stages = {1};
  job->preparing_stages = 1;
  job->on_prepare = [this] { clock_.Advance(std::chrono::milliseconds(1)); };
  job->on_tile = [this] { clock_.Advance(std::chrono::milliseconds(10)); };
  ASSERT_THAT(executor_->Submit(job, {}), IsOk());
  Drain();
  EXPECT_EQ(job->timings.prepare, std::chrono::milliseconds(21));
  EXPECT_EQ(job->timings.compute, std::chrono::milliseconds(10));
}

TEST_F(ExecutorGroupsTest, AStageWaitsForTilesThatRun) {
  const auto job = Make("a", 2);
  job->more_stages = {1};
  ASSERT_THAT(executor_->Submit(job, {}), IsOk());
  bool nested = false;
  job->on_tile = [&] {
    if (nested) return;
    nested = true;
    // Another worker takes the second tile while the first one runs, and finds nothing after.
    EXPECT_TRUE(executor_->RunOne());
    EXPECT_FALSE(executor_->RunOne());
    EXPECT_EQ(job->stages_begun, 0);
  };
  Drain();
  EXPECT_EQ(job->stages_begun, 1);
  EXPECT_THAT(*job->result, IsOk());
}

TEST_F(ExecutorGroupsTest, WhatIsLeftIsPredictedByTheStagesShares) {
  const auto job = Make("a", 2);
  job->more_stages = {3};
  job->stage_share = 0.25;
  ASSERT_THAT(executor_->Submit(job, {.flops = 8e9}), IsOk());
  EXPECT_DOUBLE_EQ(executor_->Stats().predicted_seconds, 8);
  executor_->RunOne();
  executor_->RunOne();
  EXPECT_DOUBLE_EQ(executor_->Stats().predicted_seconds, 7);
  job->on_tile = [&] { job->stage_share = 0.75; };
  executor_->RunOne();
  EXPECT_DOUBLE_EQ(executor_->Stats().predicted_seconds, 6);
  executor_->RunOne();
  EXPECT_DOUBLE_EQ(executor_->Stats().predicted_seconds, 4);
  Drain();
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, AFailureOrCancelEndsTheJobInAnyStage) {
  const auto failing = Make("a", 1);
  failing->more_stages = {3};
  failing->failing_tile = 1;
  ASSERT_THAT(executor_->Submit(failing, {}), IsOk());
  Drain();
  EXPECT_TRUE(absl::IsDataLoss(*failing->result));
  EXPECT_EQ(failing->tiles_run, 3);

  const auto cancelled = Make("b", 1);
  cancelled->more_stages = {3};
  ASSERT_THAT(executor_->Submit(cancelled, {}), IsOk());
  for (int i = 0; i < 3; ++i) executor_->RunOne();
  executor_->Cancel(cancelled.get());
  Drain();
  EXPECT_TRUE(absl::IsCancelled(*cancelled->result));
  EXPECT_EQ(cancelled->tiles_run, 2);
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, JobsThatWaitWithOneKeyAreDoneTogether) {
  const auto a = Shared("a");
  const auto b = Shared("b");
  const auto c = Submit("c", 1, {.share_key = &log_});
  Drain();
  EXPECT_THAT(log_,
              ElementsAre("a:join b", "a:prepare", "a:0", "c:prepare", "c:0", "c:done", "a:1", "b:done", "a:done"));
  EXPECT_THAT(*a->result, IsOk());
  EXPECT_THAT(*b->result, IsOk());
  EXPECT_EQ(executor_->Stats().flops_done, 2e9);
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, OnlyEqualJobsThatNobodyHasTakenJoin) {
  const auto first = Shared("first");
  executor_->RunOne();
  const auto late = Submit("late", 1, {.deadline = clock_.Now() + seconds(1), .share_key = this});
  const auto other = Submit("other", 1, {.priority = -1, .share_key = this});
  const auto next = Submit("next", 1, {.share_key = this});
  clock_.Advance(seconds(2));
  Drain();
  for (const std::string& step : log_) EXPECT_EQ(step.find("join"), std::string::npos) << step;
  EXPECT_TRUE(absl::IsDeadlineExceeded(*late->result));
  EXPECT_THAT(*other->result, IsOk());
  EXPECT_THAT(*next->result, IsOk());
}

TEST_F(ExecutorGroupsTest, AJobThatDeclinesDoesNotTakeOver) {
  const auto a = Shared("a");
  a->joins = false;
  const auto b = Shared("b");
  Drain();
  EXPECT_EQ(a->prepared, 1);
  EXPECT_EQ(b->prepared, 1);
}

TEST_F(ExecutorGroupsTest, ACancelledJobLeavesTheOthersTheirWork) {
  for (const bool leader_goes : {true, false}) {
    const auto a = Shared("a");
    const auto b = Shared("b");
    executor_->RunOne();
    executor_->Cancel((leader_goes ? a : b).get());
    // Its memory is still worked on.
    EXPECT_EQ(a->done + b->done, 0);
    Drain();
    EXPECT_EQ(absl::IsCancelled(*a->result), leader_goes);
    EXPECT_EQ(absl::IsCancelled(*b->result), !leader_goes);
    EXPECT_EQ(a->tiles_run, 2);
    ExpectNothingLeft();
  }
}

TEST_F(ExecutorGroupsTest, ALateLeaderGoesOnForTheOthers) {
  const auto a = Submit("a", 2, {.deadline = clock_.Now() + seconds(1), .share_key = this});
  const auto b = Shared("b");
  executor_->RunOne();
  clock_.Advance(seconds(2));
  Drain();
  EXPECT_TRUE(absl::IsDeadlineExceeded(*a->result));
  EXPECT_THAT(*b->result, IsOk());
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, WorkThatNobodyWaitsForStops) {
  const auto a = Shared("a");
  const auto b = Shared("b");
  const auto c = Shared("c");
  executor_->RunOne();
  for (const auto& job : {b, a, c}) executor_->Cancel(job.get());
  for (const auto& job : {a, b, c}) EXPECT_TRUE(absl::IsCancelled(*job->result));
  EXPECT_FALSE(executor_->RunOne());
  EXPECT_EQ(a->tiles_run, 0);
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, AFailureIsEverybodys) {
  const auto a = Shared("a");
  const auto b = Shared("b");
  a->failing_tile = 0;
  Drain();
  EXPECT_TRUE(absl::IsDataLoss(*a->result));
  EXPECT_TRUE(absl::IsDataLoss(*b->result));
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, LateJobsOfAGroupMakeRoomTogether) {
  const JobSpec spec{.deadline = clock_.Now() + seconds(1), .share_key = this};
  const auto a = Submit("a", 1, spec);
  const auto b = Submit("b", 1, spec);
  const auto c = Submit("c", 1, spec);
  executor_->RunOne();
  clock_.Advance(seconds(2));
  Submit("d", 1, {});
  // Full: the three whose deadlines have passed go.
  const auto e = Submit("e", 1, {});
  for (const auto& job : {a, b, c}) EXPECT_TRUE(absl::IsDeadlineExceeded(*job->result));
  Drain();
  EXPECT_THAT(*e->result, IsOk());
  ExpectNothingLeft();
}

TEST_F(ExecutorGroupsTest, TheEndOfTheExecutorIsTheEndOfAll) {
  const auto a = Shared("a");
  const auto b = Shared("b");
  executor_->RunOne();
  executor_.reset();
  EXPECT_TRUE(absl::IsCancelled(*a->result));
  EXPECT_TRUE(absl::IsCancelled(*b->result));
}

}  // namespace
}  // namespace attnd
