// Bounds of admission, statistics and prediction.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "core/errors.h"
#include "core/runtime/executor.h"
#include "tests/support/fake_job.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr double kSpeed = 1e9;

class AdmissionTest : public testing::Test {
 protected:
  // Bounds small enough to reach.
  AdmissionTest() { Restart({.max_jobs = 3, .max_bytes = 100, .max_predicted_seconds = 10}); }

  void Restart(Executor::Options options) {
    options.workers = 0;
    options.initial_flops_per_second = kSpeed;
    executor_ = std::make_unique<Executor>(options, clock_);
  }
  absl::Status Submit(const JobSpec& spec) {
    jobs_.push_back(std::make_shared<FakeJob>("job", 1));
    absl::Status status = executor_->Submit(jobs_.back(), spec);
    if (!status.ok()) {
      EXPECT_EQ(jobs_.back()->done, 0);
      EXPECT_EQ(jobs_.back().use_count(), 1);
      jobs_.pop_back();
    }
    return status;
  }
  void Drain() const {
    while (executor_->RunOne()) {
    }
  }

  // Refused, with a hint that is neither at once nor never.
  static void ExpectOverloaded(const absl::Status& status) {
    EXPECT_THAT(status, IsError(absl::StatusCode::kResourceExhausted, ""));
    const auto retry = RetryAfterOf(status);
    ASSERT_TRUE(retry.has_value());
    EXPECT_GT(*retry, milliseconds(0));
    EXPECT_LE(*retry, seconds(60));
  }

  ManualClock clock_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::shared_ptr<FakeJob>> jobs_;
};

TEST_F(AdmissionTest, JobsAreBounded) {
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Submit({}), IsOk());
  ExpectOverloaded(Submit({}));
  Drain();
  EXPECT_THAT(Submit({}), IsOk());
}

TEST_F(AdmissionTest, RunningJobsCountUntilTheyAreDone) {
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Submit({}), IsOk());
  executor_->RunOne();
  ExpectOverloaded(Submit({}));
  executor_->RunOne();
  EXPECT_EQ(jobs_[0]->done, 1);
  EXPECT_THAT(Submit({}), IsOk());
}

TEST_F(AdmissionTest, BytesAreBounded) {
  EXPECT_THAT(Submit({.bytes = 60}), IsOk());
  ExpectOverloaded(Submit({.bytes = 41}));
  EXPECT_THAT(Submit({.bytes = 40}), IsOk());
  ExpectOverloaded(Submit({.bytes = 1}));
  EXPECT_THAT(Submit({.bytes = 0}), IsOk());
}

TEST_F(AdmissionTest, BytesDoNotOverflow) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(Submit({.bytes = 1}), IsOk());
  ExpectOverloaded(Submit({.bytes = kMax}));
  Drain();
  EXPECT_THAT(Submit({.bytes = kMax}), IsOk());
  ExpectOverloaded(Submit({.bytes = 1}));
  ExpectOverloaded(Submit({.bytes = kMax}));
}

TEST_F(AdmissionTest, PredictedSecondsAreBounded) {
  EXPECT_THAT(Submit({.flops = 6 * kSpeed}), IsOk());
  ExpectOverloaded(Submit({.flops = 5 * kSpeed}));
  EXPECT_THAT(Submit({.flops = 3.9 * kSpeed}), IsOk());
  ExpectOverloaded(Submit({.flops = kSpeed}));
  EXPECT_THAT(Submit({}), IsOk());
}

TEST_F(AdmissionTest, AHugeJobIsAdmittedWhenItIsAlone) {
  EXPECT_THAT(Submit({.flops = 1000 * kSpeed, .bytes = 1000}), IsOk());
  ExpectOverloaded(Submit({.flops = 1}));
  Drain();
  EXPECT_THAT(Submit({.flops = 1}), IsOk());
  ExpectOverloaded(Submit({.bytes = 1000}));
  ExpectOverloaded(Submit({.flops = 1000 * kSpeed}));
}

TEST(AdmissionBytesTest, BytesHeldElsewhereCount) {
  const ManualClock clock;
  int64_t unsent = 0;
  Executor executor({.workers = 0, .max_bytes = 100, .bytes_elsewhere = [&unsent] { return unsent; }}, clock);
  unsent = 90;
  const auto job = std::make_shared<FakeJob>("job", 1);
  EXPECT_THAT(executor.Submit(job, {.bytes = 20}), IsError(absl::StatusCode::kResourceExhausted, "90 bytes"));
  EXPECT_EQ(executor.Stats().bytes, 90);
  unsent = 0;
  EXPECT_THAT(executor.Submit(job, {.bytes = 20}), IsOk());
}

TEST_F(AdmissionTest, TheBoundsAreFreeAgainAfterCancelAndFailure) {
  EXPECT_THAT(Submit({.flops = 9 * kSpeed, .bytes = 90}), IsOk());
  executor_->Cancel(jobs_[0].get());
  EXPECT_THAT(Submit({.flops = 9 * kSpeed, .bytes = 90}), IsOk());
  jobs_[1]->prepare_status = absl::InternalError("broken");
  Drain();
  EXPECT_EQ(jobs_[1]->done, 1);
  EXPECT_THAT(Submit({.flops = 9 * kSpeed, .bytes = 90}), IsOk());
  jobs_[2]->failing_tile = 0;
  Drain();
  const ExecutorStats stats = executor_->Stats();
  EXPECT_EQ(stats.jobs, 0);
  EXPECT_EQ(stats.bytes, 0);
  EXPECT_EQ(stats.predicted_seconds, 0);
}

TEST_F(AdmissionTest, LateJobsDoNotHoldPlaces) {
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Submit({.deadline = clock_.Now() + seconds(1), .bytes = 30}), IsOk());
  ExpectOverloaded(Submit({}));
  clock_.Advance(seconds(2));
  EXPECT_THAT(Submit({.bytes = 100}), IsOk());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(jobs_[static_cast<size_t>(i)]->done, 1);
    EXPECT_THAT(*jobs_[static_cast<size_t>(i)]->result, IsError(absl::StatusCode::kDeadlineExceeded, ""));
  }
}

TEST_F(AdmissionTest, TheHintGrowsWithTheWorkAhead) {
  const auto hint = [this](double ahead) {
    Restart({.max_jobs = 1});
    EXPECT_THAT(Submit({.flops = ahead * kSpeed}), IsOk());
    return RetryAfterOf(Submit({})).value_or(milliseconds(0));
  };
  const milliseconds little = hint(0.1);
  const milliseconds much = hint(10);
  EXPECT_LT(little, much);
  EXPECT_LE(little, milliseconds(200));
  EXPECT_GE(much, milliseconds(500));
  EXPECT_LE(much, seconds(20));
}

TEST_F(AdmissionTest, DrainingComesBeforeOverload) {
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Submit({}), IsOk());
  executor_->StopAdmission();
  EXPECT_THAT(Submit({}), IsError(absl::StatusCode::kUnavailable, ""));
}

TEST_F(AdmissionTest, StatsFollowTheJobs) {
  EXPECT_EQ(executor_->Stats().jobs, 0);
  EXPECT_EQ(executor_->Stats().workers, 0);
  EXPECT_EQ(executor_->Stats().oldest_wait, Duration());
  EXPECT_THAT(Submit({.flops = 2 * kSpeed, .bytes = 10}), IsOk());
  clock_.Advance(seconds(2));
  EXPECT_THAT(Submit({.flops = kSpeed, .bytes = 20}), IsOk());
  clock_.Advance(seconds(1));

  ExecutorStats stats = executor_->Stats();
  EXPECT_EQ(stats.jobs, 2);
  EXPECT_EQ(stats.waiting, 2);
  EXPECT_EQ(stats.bytes, 30);
  EXPECT_NEAR(stats.predicted_seconds, 3, 1e-6);
  EXPECT_EQ(stats.oldest_wait, seconds(3));

  executor_->RunOne();  // the first is prepared
  stats = executor_->Stats();
  EXPECT_EQ(stats.jobs, 2);
  EXPECT_EQ(stats.waiting, 1);
  EXPECT_EQ(stats.oldest_wait, seconds(1));

  jobs_[0]->on_tile = [this] { clock_.Advance(seconds(4)); };
  Drain();
  stats = executor_->Stats();
  EXPECT_EQ(stats.jobs, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.bytes, 0);
  EXPECT_EQ(stats.predicted_seconds, 0);
  EXPECT_EQ(stats.tiles_done, 2);
  EXPECT_DOUBLE_EQ(stats.flops_done, 3 * kSpeed);
  EXPECT_NEAR(stats.busy_seconds, 4, 1e-9);
}

TEST_F(AdmissionTest, SpeedIsMeasured) {
  EXPECT_DOUBLE_EQ(executor_->Stats().worker_flops_per_second, kSpeed);
  EXPECT_NEAR(executor_->PredictSeconds(5 * kSpeed), 5, 1e-9);
  for (int i = 0; i < 200; ++i) {
    ASSERT_THAT(Submit({.flops = 4e8}), IsOk());
    jobs_.back()->on_tile = [this] { clock_.Advance(milliseconds(100)); };  // 4e9 per second
    Drain();
  }
  EXPECT_NEAR(executor_->Stats().worker_flops_per_second, 4e9, 0.1 * 4e9);
  EXPECT_NEAR(executor_->PredictSeconds(8e9), 2, 0.2);
}

TEST_F(AdmissionTest, AMeasuredSpeedMovesTheBounds) {
  for (int i = 0; i < 200; ++i) {
    ASSERT_THAT(Submit({.flops = 4e8}), IsOk());
    jobs_.back()->on_tile = [this] { clock_.Advance(milliseconds(100)); };
    Drain();
  }
  EXPECT_THAT(Submit({.flops = 1e9}), IsOk());
  EXPECT_THAT(Submit({.flops = 3e10}), IsOk()) << "7.5 s at 4e9, 30 s at 1e9";
}

TEST_F(AdmissionTest, WorkOfNoMeasurableTimeDoesNotSpoilTheSpeed) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(Submit({.flops = 1e12}), IsOk());
    Drain();
  }
  EXPECT_DOUBLE_EQ(executor_->Stats().worker_flops_per_second, kSpeed);
}

}  // namespace
}  // namespace attnd
