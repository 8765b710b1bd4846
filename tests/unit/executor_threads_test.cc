// The executor with workers: what holds however threads meet.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/runtime/clock.h"
#include "core/runtime/executor.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

// Counts its steps and checks that they keep to the contract. Thread-safe.
class CountingJob : public Job {
 public:
  explicit CountingJob(int64_t tiles) : runs_(static_cast<size_t>(tiles)) {}

  absl::StatusOr<int64_t> Prepare() override {
    EXPECT_EQ(prepares_.fetch_add(1), 0);
    EXPECT_EQ(dones_.load(), 0);
    return static_cast<int64_t>(runs_.size());
  }
  absl::Status RunTile(int64_t tile) override {
    ++running_;
    EXPECT_EQ(prepares_.load(), 1);
    EXPECT_EQ(dones_.load(), 0);
    EXPECT_EQ(runs_[static_cast<size_t>(tile)].fetch_add(1), 0);
    --running_;
    return absl::OkStatus();
  }
  void Done(const absl::Status& status, const JobTimings& timings) override {
    EXPECT_EQ(running_.load(), 0) << "Done comes last";
    EXPECT_GE(timings.queue, Duration());
    EXPECT_GE(timings.compute, Duration());
    // A copy of its own: ThreadSanitizer does not see absl count the owners of a shared one.
    status_ = absl::Status(status.code(), std::string(status.message()));
    EXPECT_EQ(dones_.fetch_add(1), 0);
  }

  [[nodiscard]] bool done() const { return dones_.load() == 1; }
  // After done().
  [[nodiscard]] const absl::Status& status() const { return status_; }
  [[nodiscard]] int64_t tiles_run() const {
    int64_t n = 0;
    for (const auto& run : runs_) n += run.load();
    return n;
  }
  [[nodiscard]] int64_t tiles() const { return static_cast<int64_t>(runs_.size()); }

 private:
  std::vector<std::atomic<int>> runs_;
  std::atomic<int> prepares_ = 0;
  std::atomic<int> running_ = 0;
  std::atomic<int> dones_ = 0;
  absl::Status status_;
};

Executor::Options WithWorkers(int workers) {
  Executor::Options options;
  options.workers = workers;
  options.max_jobs = 1'000'000;
  return options;
}

// Whether all jobs end; by the clock of the wall, within what no test needs.
bool Idle(Executor& executor) { return executor.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(5)); }

class ExecutorThreadsTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Workers, ExecutorThreadsTest, testing::Values(1, 2, 4));

TEST_P(ExecutorThreadsTest, EveryTileOfEveryJobRunsOnce) {
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  EXPECT_EQ(executor.Stats().workers, GetParam());
  Random random(1);
  std::vector<std::shared_ptr<CountingJob>> jobs;
  jobs.reserve(300);
  for (int i = 0; i < 300; ++i) {
    jobs.push_back(std::make_shared<CountingJob>(random.Below(20)));
    EXPECT_THAT(executor.Submit(jobs.back(), {.priority = static_cast<int>(random.Below(3)), .flops = 1e6, .bytes = 1}),
                IsOk());
  }
  EXPECT_TRUE(Idle(executor));
  int64_t tiles = 0;
  for (const auto& job : jobs) {
    ASSERT_TRUE(job->done());
    EXPECT_THAT(job->status(), IsOk());
    EXPECT_EQ(job->tiles_run(), job->tiles());
    EXPECT_EQ(job.use_count(), 1);
    tiles += job->tiles();
  }
  const ExecutorStats stats = executor.Stats();
  EXPECT_EQ(stats.tiles_done, tiles);
  EXPECT_EQ(stats.jobs, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.bytes, 0);
}

TEST_P(ExecutorThreadsTest, JobsFromManyThreadsEndOnceWhateverCancelsThem) {
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  constexpr int kThreads = 4;
  constexpr int kJobs = kSanitized ? 200 : 1000;
  std::vector<std::vector<std::shared_ptr<CountingJob>>> jobs(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<uint64_t>(t) + 1);
      auto& mine = jobs[static_cast<size_t>(t)];
      for (int i = 0; i < kJobs; ++i) {
        mine.push_back(std::make_shared<CountingJob>(random.Below(8)));
        JobSpec spec = {.priority = static_cast<int>(random.Below(2)), .flops = 1e5, .bytes = 10};
        if (random.Below(4) == 0) spec.deadline = Clock::Real().Now() + std::chrono::seconds(1000);
        ASSERT_THAT(executor.Submit(mine.back(), spec), IsOk());
        if (random.Below(2) == 0) {
          executor.Cancel(mine[static_cast<size_t>(random.Below(static_cast<int64_t>(mine.size())))].get());
        }
        if (i % 50 == 0) (void)executor.Stats();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(Idle(executor));
  for (const auto& mine : jobs) {
    for (const auto& job : mine) {
      ASSERT_TRUE(job->done());
      if (job->status().ok()) {
        EXPECT_EQ(job->tiles_run(), job->tiles());
      } else {
        EXPECT_THAT(job->status(), IsError(absl::StatusCode::kCancelled, ""));
      }
    }
  }
  EXPECT_EQ(executor.Stats().bytes, 0);
}

TEST_P(ExecutorThreadsTest, TheDestructorEndsEveryJobOnce) {
  std::vector<std::shared_ptr<CountingJob>> jobs;
  {
    Executor executor(WithWorkers(GetParam()), Clock::Real());
    for (int i = 0; i < 50; ++i) {
      jobs.push_back(std::make_shared<CountingJob>(10'000));
      EXPECT_THAT(executor.Submit(jobs.back(), {.flops = 1e6}), IsOk());
    }
  }
  for (const auto& job : jobs) {
    ASSERT_TRUE(job->done());
    if (!job->status().ok()) {
      EXPECT_THAT(job->status(), IsError(absl::StatusCode::kCancelled, ""));
    }
    EXPECT_EQ(job.use_count(), 1);
  }
}

// Every tile waits for all others, so they end only if that many run at the same time.
class MeetingJob : public CountingJob {
 public:
  explicit MeetingJob(int64_t tiles) : CountingJob(tiles), meeting_(tiles) {}
  absl::Status RunTile(int64_t tile) override {
    meeting_.arrive_and_wait();
    return CountingJob::RunTile(tile);
  }

 private:
  std::latch meeting_;
};

TEST_P(ExecutorThreadsTest, TilesOfOneJobRunOnAllWorkers) {
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  const auto job = std::make_shared<MeetingJob>(GetParam());
  ASSERT_THAT(executor.Submit(job, {}), IsOk());
  EXPECT_TRUE(Idle(executor));
  EXPECT_THAT(job->status(), IsOk());
}

TEST_P(ExecutorThreadsTest, DifferentJobsRunAtTheSameTime) {
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  std::latch meeting(GetParam());
  class OneTile : public CountingJob {
   public:
    explicit OneTile(std::latch* latch) : CountingJob(1), latch_(latch) {}
    absl::Status RunTile(int64_t tile) override {
      latch_->arrive_and_wait();
      return CountingJob::RunTile(tile);
    }

   private:
    std::latch* latch_;
  };
  for (int i = 0; i < GetParam(); ++i) ASSERT_THAT(executor.Submit(std::make_shared<OneTile>(&meeting), {}), IsOk());
  EXPECT_TRUE(Idle(executor));
}

// Fails on every tile; the first failure is the one that is told.
TEST_P(ExecutorThreadsTest, ManyFailingTilesEndTheJobOnce) {
  class Failing : public CountingJob {
   public:
    Failing() : CountingJob(64) {}
    absl::Status RunTile(int64_t tile) override {
      EXPECT_THAT(CountingJob::RunTile(tile), IsOk());
      return absl::DataLossError("failed");
    }
  };
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  for (int i = 0; i < 50; ++i) {
    const auto job = std::make_shared<Failing>();
    ASSERT_THAT(executor.Submit(job, {}), IsOk());
    EXPECT_TRUE(Idle(executor));
    EXPECT_THAT(job->status(), IsError(absl::StatusCode::kDataLoss, "failed"));
    EXPECT_LE(job->tiles_run(), GetParam());
  }
}

TEST_P(ExecutorThreadsTest, WorkIsTakenUpAfterAnIdleTime) {
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  for (int i = 0; i < 200; ++i) {
    const auto job = std::make_shared<CountingJob>(3);
    ASSERT_THAT(executor.Submit(job, {}), IsOk());
    ASSERT_TRUE(Idle(executor));
    ASSERT_TRUE(job->done());
  }
}

TEST_P(ExecutorThreadsTest, IdleIsAwaitedWithoutADeadline) {
  Executor executor(WithWorkers(GetParam()), Clock::Real());
  const auto job = std::make_shared<CountingJob>(1000);
  ASSERT_THAT(executor.Submit(job, {}), IsOk());
  EXPECT_TRUE(executor.AwaitIdle(Time::max()));
  EXPECT_TRUE(Idle(executor));
  EXPECT_TRUE(job->done());
}

TEST(ExecutorSpeedTest, TheDeadlineTestCountsAllWorkers) {
  Executor::Options options = WithWorkers(4);
  options.initial_flops_per_second = 1e9;
  Executor executor(options, Clock::Real());
  JobSpec spec = {.flops = 1e12};  // 1000 s of one worker
  spec.deadline = Clock::Real().Now() + std::chrono::seconds(200);
  EXPECT_THAT(executor.Submit(std::make_shared<CountingJob>(1), spec),
              IsError(absl::StatusCode::kDeadlineExceeded, ""));
  spec.deadline = Clock::Real().Now() + std::chrono::seconds(300);
  EXPECT_THAT(executor.Submit(std::make_shared<CountingJob>(1), spec), IsOk());
}

}  // namespace
}  // namespace attnd
