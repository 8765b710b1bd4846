// The executor's state and steps. Used by executor.cc.
#ifndef ATTND_CORE_RUNTIME_EXECUTOR_IMPL_H_
#define ATTND_CORE_RUNTIME_EXECUTOR_IMPL_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "core/runtime/clock.h"
#include "core/runtime/executor.h"
#include "core/runtime/job_entry.h"
#include "core/runtime/mutex.h"
#include "core/runtime/speed_meter.h"

namespace attnd {

class Executor::Impl {
 public:
  Impl(const Options& options, const Clock& clock);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  absl::Status Submit(std::shared_ptr<Job> job, const JobSpec& spec) ATTND_EXCLUDES(mutex_);
  void Cancel(const Job* job) ATTND_EXCLUDES(mutex_);
  void StopAdmission() ATTND_EXCLUDES(mutex_);
  bool AwaitIdle(Time deadline) ATTND_EXCLUDES(mutex_);
  bool RunOne() ATTND_EXCLUDES(mutex_);
  ExecutorStats Stats() const ATTND_EXCLUDES(mutex_);
  double PredictSeconds(double flops) const ATTND_EXCLUDES(mutex_);

 private:
  using Entry = JobEntry;
  struct ByRank {
    bool operator()(const Entry* a, const Entry* b) const { return a->Rank() < b->Rank(); }
  };
  struct Step {
    Entry* entry = nullptr;
    int64_t tile = -1;  // -1: Prepare
  };
  // Jobs whose Done is due; called after the lock is released.
  using Ended = std::vector<std::unique_ptr<Entry>>;

  void WorkerMain();
  bool RunsHere(const JobSpec& spec, double seconds) const ATTND_REQUIRES(mutex_);
  void RunHere(Job& job, const JobSpec& spec) ATTND_EXCLUDES(mutex_);
  std::optional<Step> Claim(Ended& ended) ATTND_REQUIRES(mutex_);
  void Execute(const Step& step) ATTND_EXCLUDES(mutex_);
  void ExecutePrepare(Entry* entry) ATTND_EXCLUDES(mutex_);
  void ExecuteTile(Entry* entry, int64_t tile) ATTND_EXCLUDES(mutex_);
  void BeginStage(Entry* entry, int64_t tiles) ATTND_REQUIRES(mutex_);
  void Charge(Entry* entry, double seconds) ATTND_REQUIRES(mutex_);
  void TakeRiders(Entry* leader, Time now) ATTND_REQUIRES(mutex_);
  void LeaveRiders(Entry* leader, Ended& ended) ATTND_REQUIRES(mutex_);
  void EndIfDue(Entry* entry, Ended& ended) ATTND_REQUIRES(mutex_);
  void Abandon(Entry* entry, absl::Status status, Ended& ended) ATTND_REQUIRES(mutex_);
  void Stop(Entry* entry, absl::Status status, Ended& ended) ATTND_REQUIRES(mutex_);
  void Reap(Ended& ended) ATTND_REQUIRES(mutex_);
  absl::Status Admit(const JobSpec& spec, double seconds) const ATTND_REQUIRES(mutex_);
  double Predict(const JobSpec& spec) const ATTND_REQUIRES(mutex_);
  [[nodiscard]] int64_t RoundOf(double tag) const { return static_cast<int64_t>(tag / options_.quantum_seconds); }
  [[nodiscard]] int64_t BytesHeld() const ATTND_REQUIRES(mutex_) {
    return bytes_ + (options_.bytes_elsewhere ? options_.bytes_elsewhere() : 0);
  }
  [[nodiscard]] double Workers() const { return std::max(1, options_.workers); }
  void CallDone(Ended ended) ATTND_EXCLUDES(mutex_);

  const Options options_;
  const Clock& clock_;

  mutable Mutex mutex_;
  CondVar work_;
  CondVar idle_;
  bool admitting_ ATTND_GUARDED_BY(mutex_) = true;
  bool stopping_ ATTND_GUARDED_BY(mutex_) = false;
  uint64_t next_sequence_ ATTND_GUARDED_BY(mutex_) = 0;
  // Service given so far divided by the number of jobs sharing it; new jobs start one
  // quantum before it.
  double virtual_seconds_ ATTND_GUARDED_BY(mutex_) = 0;
  std::unordered_map<const Job*, std::unique_ptr<Entry>> jobs_ ATTND_GUARDED_BY(mutex_);
  std::set<Entry*, ByRank> runnable_ ATTND_GUARDED_BY(mutex_);
  // Jobs in jobs_ that nobody has taken.
  int64_t waiting_ ATTND_GUARDED_BY(mutex_) = 0;
  // Jobs not in jobs_ whose Done has not returned: not idle yet.
  int64_t ending_ ATTND_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ATTND_GUARDED_BY(mutex_) = 0;
  double predicted_seconds_ ATTND_GUARDED_BY(mutex_) = 0;
  SpeedMeter speed_ ATTND_GUARDED_BY(mutex_);
  double busy_seconds_ ATTND_GUARDED_BY(mutex_) = 0;
  double flops_done_ ATTND_GUARDED_BY(mutex_) = 0;
  int64_t tiles_done_ ATTND_GUARDED_BY(mutex_) = 0;

  std::vector<std::thread> workers_;
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_EXECUTOR_IMPL_H_
