// The executor without workers: every step is taken by the test, time is set by hand.
#include "core/runtime/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/errors.h"
#include "tests/support/fake_job.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

constexpr double kSpeed = 1e9;  // assumed by the executor, FLOP per second

class ExecutorTest : public testing::Test {
 protected:
  ExecutorTest() : ExecutorTest(Executor::Options{}) {}
  explicit ExecutorTest(Executor::Options options) {
    options.workers = 0;
    options.initial_flops_per_second = kSpeed;
    executor_ = std::make_unique<Executor>(options, clock_);
  }

  std::shared_ptr<FakeJob> Make(const std::string& name, int64_t tiles) {
    return std::make_shared<FakeJob>(name, tiles, &log_);
  }
  std::shared_ptr<FakeJob> Submit(const std::string& name, int64_t tiles, const JobSpec& spec = {}) {
    auto job = Make(name, tiles);
    EXPECT_THAT(executor_->Submit(job, spec), IsOk());
    return job;
  }
  // Steps until nothing is ready; returns their number.
  int64_t Drain() {
    int64_t steps = 0;
    while (executor_->RunOne()) ++steps;
    return steps;
  }
  // The tiles and prepares in the log, without the dones.
  [[nodiscard]] StepLog Steps() const {
    StepLog steps = log_;
    std::erase_if(steps, [](const std::string& step) { return step.ends_with(":done"); });
    return steps;
  }
  [[nodiscard]] int64_t Count(const std::string& prefix) const {
    return std::count_if(log_.begin(), log_.end(), [&](const std::string& step) { return step.starts_with(prefix); });
  }

  ManualClock clock_;
  StepLog log_;
  std::unique_ptr<Executor> executor_;
};

JobSpec SecondsOfWork(double predicted) { return {.flops = predicted * kSpeed}; }

TEST_F(ExecutorTest, AJobIsPreparedThenRunTileByTileThenDone) {
  const auto job = Submit("a", 3);
  EXPECT_TRUE(log_.empty()) << "nothing runs on the thread that submits";
  EXPECT_EQ(Drain(), 4);
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:1", "a:2", "a:done"));
  EXPECT_THAT(*job->result, IsOk());
  EXPECT_FALSE(executor_->RunOne());
}

TEST_F(ExecutorTest, WithoutTilesAJobIsDoneAfterPrepare) {
  const auto job = Submit("a", 0);
  EXPECT_EQ(Drain(), 1);
  EXPECT_THAT(*job->result, IsOk());
  EXPECT_EQ(job->done, 1);
}

TEST_F(ExecutorTest, AFailingPrepareEndsTheJob) {
  auto job = Make("a", 3);
  job->prepare_status = absl::ResourceExhaustedError("no memory");
  ASSERT_THAT(executor_->Submit(job, {}), IsOk());
  Drain();
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:done"));
  EXPECT_THAT(*job->result, IsError(absl::StatusCode::kResourceExhausted, "no memory"));
}

TEST_F(ExecutorTest, AFailingTileEndsTheJob) {
  auto job = Make("a", 3);
  job->failing_tile = 1;
  ASSERT_THAT(executor_->Submit(job, {}), IsOk());
  Drain();
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:1", "a:done"));
  EXPECT_THAT(*job->result, IsError(absl::StatusCode::kDataLoss, "tile failed"));
  EXPECT_EQ(executor_->Stats().jobs, 0);
}

TEST_F(ExecutorTest, EqualJobsRunFirstComeFirstServed) {
  for (const char* name : {"a", "b", "c"}) Submit(name, 1);
  Drain();
  EXPECT_THAT(Steps(), ElementsAre("a:prepare", "a:0", "b:prepare", "b:0", "c:prepare", "c:0"));
}

TEST_F(ExecutorTest, HigherPriorityGoesFirst) {
  Submit("low", 1, {.priority = -1});
  Submit("normal", 1);
  Submit("high", 1, {.priority = 7});
  Drain();
  EXPECT_THAT(Steps(), ElementsAre("high:prepare", "high:0", "normal:prepare", "normal:0", "low:prepare", "low:0"));
}

TEST_F(ExecutorTest, HigherPriorityTakesOverBetweenTiles) {
  Submit("low", 3);
  executor_->RunOne();
  executor_->RunOne();
  Submit("high", 2, {.priority = 1, .flops = 1e10});
  Drain();
  EXPECT_THAT(Steps(), ElementsAre("low:prepare", "low:0", "high:prepare", "high:0", "high:1", "low:1", "low:2"));
}

TEST_F(ExecutorTest, PriorityBeatsAnEarlierDeadline) {
  Submit("urgent", 1, {.deadline = clock_.Now() + seconds(1)});
  Submit("important", 1, {.priority = 1});
  Drain();
  EXPECT_EQ(Steps().front(), "important:prepare");
}

TEST_F(ExecutorTest, WithinARoundTheEarliestDeadlineGoesFirst) {
  Submit("none", 1);
  Submit("later", 1, {.deadline = clock_.Now() + seconds(20)});
  Submit("soon", 1, {.deadline = clock_.Now() + seconds(10)});
  Drain();
  EXPECT_THAT(Steps(), ElementsAre("soon:prepare", "soon:0", "later:prepare", "later:0", "none:prepare", "none:0"));
}

// Tiles of 1 ms in rounds of 5 ms.
TEST_F(ExecutorTest, LargeJobsTakeTurns) {
  Submit("a", 200, SecondsOfWork(0.2));
  Submit("b", 200, SecondsOfWork(0.2));
  int64_t worst = 0;
  while (executor_->RunOne()) {
    if (Count("a:done") + Count("b:done") > 0) break;
    worst = std::max(worst, std::abs(Count("a:") - Count("b:")));
  }
  EXPECT_LE(worst, 11) << "one is ahead by more than two rounds";
  EXPECT_EQ(Count("a:done") + Count("b:done"), 1);
  EXPECT_GE(std::min(Count("a:"), Count("b:")), 190) << "they end together";
}

// Tiles of different size: shares are counted in work, not in tiles.
TEST_F(ExecutorTest, TurnsAreCountedInWork) {
  Submit("fine", 1000, SecondsOfWork(1));
  Submit("coarse", 100, SecondsOfWork(1));
  while (executor_->RunOne() && Count("fine:done") + Count("coarse:done") == 0) {
    const double fine = 0.001 * static_cast<double>(Count("fine:"));
    const double coarse = 0.01 * static_cast<double>(Count("coarse:"));
    ASSERT_LE(std::abs(fine - coarse), 0.035);
  }
}

TEST_F(ExecutorTest, ADeadlineDoesNotStarveALargeJobWithoutOne) {
  Submit("patient", 100, SecondsOfWork(0.1));
  JobSpec urgent = SecondsOfWork(0.1);
  urgent.deadline = clock_.Now() + seconds(10);
  Submit("urgent", 100, urgent);
  while (executor_->RunOne() && Count("urgent:done") == 0) {
  }
  EXPECT_GE(Count("patient:"), 80);
}

TEST_F(ExecutorTest, ASmallJobOvertakesALargeOne) {
  Submit("large", 5000, SecondsOfWork(5));
  for (int i = 0; i < 1000; ++i) executor_->RunOne();
  const auto small = Submit("small", 1, SecondsOfWork(0.0001));
  int64_t steps = 0;
  while (small->done == 0 && executor_->RunOne()) ++steps;
  EXPECT_LE(steps, 5 + 2) << "waits for more than the round that goes on";
}

TEST_F(ExecutorTest, ASmallJobOvertakesManyLargeOnes) {
  for (int i = 0; i < 8; ++i) Submit("large" + std::to_string(i), 1000, SecondsOfWork(1));
  for (int i = 0; i < 2000; ++i) executor_->RunOne();
  const auto small = Submit("small", 1, SecondsOfWork(0.0001));
  int64_t steps = 0;
  while (small->done == 0 && executor_->RunOne()) ++steps;
  EXPECT_LE(steps, 8 * 5 + 2) << "waits for more than a round of each";
}

TEST_F(ExecutorTest, AStreamOfSmallJobsDoesNotStarveALargeOne) {
  Submit("large", 1000, SecondsOfWork(1));
  std::shared_ptr<FakeJob> small;
  for (int i = 0; i < 1000; ++i) {
    if (small == nullptr || small->done > 0) small = Submit("small", 1, SecondsOfWork(0.001));
    executor_->RunOne();
  }
  EXPECT_GE(Count("large:"), 200);
  EXPECT_GE(Count("small:done"), 200);
}

TEST_F(ExecutorTest, ANewLargeJobOwesNothingForTheTimeBeforeIt) {
  Submit("old", 3000, SecondsOfWork(3));
  for (int i = 0; i < 2000; ++i) executor_->RunOne();
  log_.clear();
  Submit("new", 3000, SecondsOfWork(3));
  for (int i = 0; i < 200; ++i) executor_->RunOne();
  EXPECT_NEAR(static_cast<double>(Count("old:")), 100, 12);
}

TEST_F(ExecutorTest, AJobWhoseDeadlineHasPassedIsRefused) {
  for (const auto deadline : {clock_.Now(), clock_.Now() - milliseconds(1), Time(), Time::min()}) {
    auto job = Make("late", 1);
    EXPECT_THAT(executor_->Submit(job, {.deadline = deadline}),
                IsError(absl::StatusCode::kDeadlineExceeded, "deadline"));
    EXPECT_EQ(job->done, 0);
    EXPECT_EQ(job.use_count(), 1);
  }
  EXPECT_FALSE(executor_->RunOne());
}

TEST_F(ExecutorTest, AJobThatCannotMeetItsDeadlineIsRefused) {
  JobSpec spec = SecondsOfWork(10);
  spec.deadline = clock_.Now() + seconds(9);
  EXPECT_THAT(executor_->Submit(Make("a", 1), spec), IsError(absl::StatusCode::kDeadlineExceeded, ""));
  spec.deadline = clock_.Now() + seconds(11);
  EXPECT_THAT(executor_->Submit(Make("a", 1), spec), IsOk());
}

TEST_F(ExecutorTest, TheLastDeadlineIsNoDeadline) {
  const auto job = Submit("a", 1, {.deadline = Time::max()});
  Drain();
  EXPECT_THAT(*job->result, IsOk());
}

TEST_F(ExecutorTest, ADeadlineThatPassesInTheQueueEndsTheJobUnprepared) {
  const auto job = Submit("a", 2, {.deadline = clock_.Now() + seconds(1)});
  clock_.Advance(seconds(1));
  EXPECT_FALSE(executor_->RunOne());
  EXPECT_THAT(log_, ElementsAre("a:done"));
  EXPECT_THAT(*job->result, IsError(absl::StatusCode::kDeadlineExceeded, ""));
  EXPECT_EQ(job->timings.queue, seconds(1));
}

TEST_F(ExecutorTest, ADeadlineThatPassesBetweenTilesEndsTheJob) {
  auto job = Make("a", 3);
  job->on_tile = [this] { clock_.Advance(milliseconds(600)); };
  ASSERT_THAT(executor_->Submit(job, {.deadline = clock_.Now() + seconds(1)}), IsOk());
  Drain();
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:1", "a:done"));
  EXPECT_THAT(*job->result, IsError(absl::StatusCode::kDeadlineExceeded, ""));
}

TEST_F(ExecutorTest, ALateJobGivesWayToTheNext) {
  const auto late = Submit("late", 1, {.priority = 1, .deadline = clock_.Now() + seconds(1)});
  const auto next = Submit("next", 1);
  clock_.Advance(seconds(2));
  EXPECT_TRUE(executor_->RunOne());
  EXPECT_EQ(late->done, 1);
  EXPECT_EQ(next->prepared, 1);
}

TEST_F(ExecutorTest, CancellingAQueuedJobEndsItAtOnce) {
  const auto job = Submit("a", 2);
  clock_.Advance(seconds(3));
  executor_->Cancel(job.get());
  EXPECT_THAT(log_, ElementsAre("a:done"));
  EXPECT_THAT(*job->result, IsError(absl::StatusCode::kCancelled, ""));
  EXPECT_EQ(job->timings.queue, seconds(3));
  EXPECT_EQ(executor_->Stats().jobs, 0);
  EXPECT_FALSE(executor_->RunOne());
}

TEST_F(ExecutorTest, CancellingBetweenTilesEndsTheJobAtOnce) {
  const auto job = Submit("a", 3);
  executor_->RunOne();
  executor_->RunOne();
  executor_->Cancel(job.get());
  EXPECT_THAT(log_, ElementsAre("a:prepare", "a:0", "a:done"));
  EXPECT_THAT(*job->result, IsError(absl::StatusCode::kCancelled, ""));
  EXPECT_EQ(Drain(), 0);
}

TEST_F(ExecutorTest, CancellingDuringAStepEndsTheJobAfterIt) {
  for (const bool during_prepare : {true, false}) {
    log_.clear();
    auto job = Make("a", 3);
    (during_prepare ? job->on_prepare : job->on_tile) = [&] {
      executor_->Cancel(job.get());
      EXPECT_EQ(job->done, 0);
    };
    ASSERT_THAT(executor_->Submit(job, {}), IsOk());
    Drain();
    EXPECT_EQ(job->done, 1);
    EXPECT_EQ(job->tiles_run, during_prepare ? 0 : 1);
    EXPECT_THAT(*job->result, IsError(absl::StatusCode::kCancelled, ""));
    job->on_prepare = nullptr;
    job->on_tile = nullptr;
  }
}

TEST_F(ExecutorTest, CancellingTwiceOrTooLateOrTheUnknownDoesNothing) {
  const auto job = Submit("a", 1);
  const auto other = Make("other", 1);
  executor_->Cancel(other.get());
  executor_->Cancel(nullptr);
  Drain();
  executor_->Cancel(job.get());
  executor_->Cancel(job.get());
  EXPECT_EQ(job->done, 1);
  EXPECT_EQ(other->done, 0);
  EXPECT_THAT(*job->result, IsOk());
}

TEST_F(ExecutorTest, TheExecutorMayBeUsedFromDone) {
  auto first = Make("first", 1);
  auto second = Make("second", 1);
  first->on_done = [&] {
    executor_->Cancel(first.get());
    EXPECT_EQ(executor_->Stats().bytes, 0);
    EXPECT_THAT(executor_->Submit(second, {}), IsOk());
  };
  ASSERT_THAT(executor_->Submit(first, {.bytes = 5}), IsOk());
  Drain();
  EXPECT_EQ(first->done, 1);
  EXPECT_EQ(second->done, 1);
}

TEST_F(ExecutorTest, ADoneJobIsLetGo) {
  std::weak_ptr<FakeJob> job = Submit("a", 1);
  Drain();
  EXPECT_TRUE(job.expired());
  job = Submit("b", 1);
  executor_->Cancel(job.lock().get());
  EXPECT_TRUE(job.expired());
}

TEST_F(ExecutorTest, TimingsSayWhereTheTimeWent) {
  auto job = Make("a", 2);
  job->on_prepare = [this] { clock_.Advance(milliseconds(20)); };
  job->on_tile = [this] { clock_.Advance(milliseconds(300)); };
  ASSERT_THAT(executor_->Submit(job, {}), IsOk());
  clock_.Advance(milliseconds(7));
  Drain();
  EXPECT_EQ(job->timings.queue, milliseconds(7));
  EXPECT_EQ(job->timings.prepare, milliseconds(20));
  EXPECT_EQ(job->timings.compute, milliseconds(600));
}

TEST_F(ExecutorTest, StoppedAdmissionRefusesNewJobsAndFinishesOldOnes) {
  const auto job = Submit("a", 2);
  executor_->StopAdmission();
  EXPECT_THAT(executor_->Submit(Make("b", 1), {}), IsError(absl::StatusCode::kUnavailable, "draining"));
  Drain();
  EXPECT_THAT(*job->result, IsOk());
}

TEST_F(ExecutorTest, IdleIsAwaitedUntilTheDeadline) {
  const Time past = Clock::Real().Now() - seconds(1);
  EXPECT_TRUE(executor_->AwaitIdle(past));
  Submit("a", 1);
  EXPECT_FALSE(executor_->AwaitIdle(past));
  EXPECT_FALSE(executor_->AwaitIdle(Time::min()));
  Drain();
  EXPECT_TRUE(executor_->AwaitIdle(past));
  EXPECT_TRUE(executor_->AwaitIdle(Time::max()));
}

TEST_F(ExecutorTest, TheDestructorCancelsWhatIsLeft) {
  const auto queued = Submit("queued", 1);
  const auto begun = Submit("begun", 2, {.priority = 1});
  executor_->RunOne();
  executor_->RunOne();
  executor_.reset();
  for (const auto& job : {queued, begun}) {
    EXPECT_EQ(job->done, 1);
    EXPECT_THAT(*job->result, IsError(absl::StatusCode::kCancelled, ""));
  }
}

}  // namespace
}  // namespace attnd
