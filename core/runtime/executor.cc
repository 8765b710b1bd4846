#include "core/runtime/executor.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/runtime/admission.h"
#include "core/runtime/executor_impl.h"
#include "core/runtime/whole_job.h"

namespace attnd {
namespace {

// Predicted cost of moving a byte in and out, for jobs that hardly compute.
constexpr double kSecondsPerByte = 2.5e-10;

}  // namespace

Executor::Impl::Impl(const Options& options, const Clock& clock)
    : options_(options), clock_(clock), speed_(options.initial_flops_per_second) {
  for (int i = 0; i < options_.workers; ++i) workers_.emplace_back([this] { WorkerMain(); });
}

Executor::Impl::~Impl() {
  Ended ended;
  {
    const MutexLock lock(mutex_);
    admitting_ = false;
    stopping_ = true;
    std::vector<Entry*> left;
    left.reserve(jobs_.size());
    for (const auto& [job, entry] : jobs_) left.push_back(entry.get());
    // Riders end with their leaders.
    std::erase_if(left, [](const Entry* entry) { return entry->leader != nullptr; });
    for (Entry* entry : left) Stop(entry, absl::CancelledError("the server is shutting down"), ended);
    work_.SignalAll();
  }
  CallDone(std::move(ended));
  for (std::thread& worker : workers_) worker.join();
}

absl::Status Executor::Impl::Submit(std::shared_ptr<Job> job, const JobSpec& spec) {
  Ended ended;
  absl::Status status;
  Job& submitted = *job;
  bool here = false;
  {
    const MutexLock lock(mutex_);
    const double seconds = Predict(spec);
    status = Admit(spec, seconds);
    if (absl::IsResourceExhausted(status)) {
      Reap(ended);
      status = Admit(spec, seconds);
    }
    here = status.ok() && RunsHere(spec, seconds);
    if (here) {
      ++ending_;
    } else if (status.ok()) {
      auto entry = std::make_unique<Entry>();
      entry->job = std::move(job);
      entry->spec = spec;
      entry->sequence = next_sequence_++;
      entry->service_tag = std::max(0.0, virtual_seconds_ - options_.quantum_seconds);
      entry->round = RoundOf(entry->service_tag);
      entry->predicted_seconds = seconds;
      entry->submitted = clock_.Now();
      bytes_ += spec.bytes;
      predicted_seconds_ += seconds;
      ++waiting_;
      runnable_.insert(entry.get());
      const Job* key = entry->job.get();
      assert(!jobs_.contains(key) && "a job is admitted once");
      jobs_.emplace(key, std::move(entry));
      work_.Signal();
    }
  }
  CallDone(std::move(ended));
  if (here) RunHere(submitted, spec);
  return status;
}

// Few jobs have been taken and are not done, so looking at all of them is no work.
bool Executor::Impl::RunsHere(const JobSpec& spec, double seconds) const {
  return seconds < options_.run_here_seconds && waiting_ == 0 &&
         std::none_of(jobs_.begin(), jobs_.end(),
                      [&spec](const auto& job) { return job.second->spec.priority > spec.priority; });
}

void Executor::Impl::RunHere(Job& job, const JobSpec& spec) {
  const WholeJob whole = RunWholeJob(job, clock_);
  job.Done(whole.status, whole.timings);
  const MutexLock lock(mutex_);
  busy_seconds_ += Seconds(whole.timings.prepare + whole.timings.compute);
  tiles_done_ += whole.tiles;
  if (whole.status.ok() && whole.tiles > 0) {
    flops_done_ += spec.flops;
    speed_.Add(spec.flops, Seconds(whole.timings.compute));
  }
  --ending_;
  idle_.SignalAll();
}

double Executor::Impl::Predict(const JobSpec& spec) const {
  return spec.flops / speed_.flops_per_second() + static_cast<double>(spec.bytes) * kSecondsPerByte;
}

absl::Status Executor::Impl::Admit(const JobSpec& spec, double seconds) const {
  if (!admitting_) return absl::UnavailableError("the server is draining; try another");
  const Load load{static_cast<int64_t>(jobs_.size()), BytesHeld(), predicted_seconds_ / Workers()};
  return CheckAdmission(options_, load, spec, seconds / Workers(), clock_.Now());
}

// Frees what jobs of clients that are gone hold while they wait for their turn.
void Executor::Impl::Reap(Ended& ended) {
  const Time now = clock_.Now();
  std::vector<Entry*> late;
  for (const auto& [job, entry] : jobs_) {
    if (!entry->end.has_value() && entry->Late(now)) late.push_back(entry.get());
  }
  for (Entry* entry : late) Abandon(entry, absl::DeadlineExceededError("the deadline passed"), ended);
}

// Nobody waits for the job's answer any more.
void Executor::Impl::Abandon(Entry* entry, absl::Status status, Ended& ended) {
  if (Entry* leader = entry->leader; leader != nullptr) {
    if (!entry->end.has_value()) entry->end = std::move(status);
    if (!leader->own_end.has_value() || leader->HasLiveRiders()) return;
    Stop(leader, *leader->own_end, ended);
  } else if (entry->HasLiveRiders()) {
    if (!entry->own_end.has_value()) entry->own_end = std::move(status);
  } else {
    Stop(entry, std::move(status), ended);
  }
}

void Executor::Impl::TakeRiders(Entry* leader, Time now) {
  if (leader->spec.share_key == nullptr) return;
  for (auto it = runnable_.begin(); it != runnable_.end();) {
    Entry* other = *it;
    const bool fits = other->spec.share_key == leader->spec.share_key && !other->prepared && !other->Late(now) &&
                      other->spec.priority == leader->spec.priority;
    if (!fits || !leader->job->Join(*other->job)) {
      ++it;
      continue;
    }
    it = runnable_.erase(it);
    --waiting_;
    ++other->steps_running;
    other->taken = now;
    other->timings.queue = now - other->submitted;
    other->leader = leader;
    leader->riders.push_back(other);
    leader->spec.flops += other->spec.flops;
    leader->predicted_seconds += std::exchange(other->predicted_seconds, 0);
  }
}

// The leader's work is over: its riders are done, too.
void Executor::Impl::LeaveRiders(Entry* leader, Ended& ended) {
  for (Entry* rider : std::exchange(leader->riders, {})) {
    rider->leader = nullptr;
    rider->timings.prepare = leader->timings.prepare;
    rider->compute_begin = leader->compute_begin;
    --rider->steps_running;
    if (!rider->end.has_value()) rider->end = leader->end;
    EndIfDue(rider, ended);
  }
  if (leader->own_end.has_value()) leader->end = std::exchange(leader->own_end, std::nullopt);
}

void Executor::Impl::Stop(Entry* entry, absl::Status status, Ended& ended) {
  runnable_.erase(entry);
  if (!entry->end.has_value()) entry->end = std::move(status);
  EndIfDue(entry, ended);
}

void Executor::Impl::EndIfDue(Entry* entry, Ended& ended) {
  if (!entry->end.has_value() || entry->steps_running > 0) return;
  LeaveRiders(entry, ended);
  if (!entry->taken.has_value()) {
    --waiting_;
    entry->timings.queue = clock_.Now() - entry->submitted;
  }
  if (entry->compute_begin.has_value()) entry->timings.compute = clock_.Now() - *entry->compute_begin;
  bytes_ -= entry->spec.bytes;
  predicted_seconds_ = std::max(0.0, predicted_seconds_ - entry->SecondsLeft());
  const auto it = jobs_.find(entry->job.get());
  ended.push_back(std::move(it->second));
  jobs_.erase(it);
  if (jobs_.empty()) predicted_seconds_ = 0;  // no drift from rounding
  ++ending_;
}

void Executor::Impl::CallDone(Ended ended) {
  if (ended.empty()) return;
  for (const auto& entry : ended) entry->job->Done(*entry->end, entry->timings);
  const auto count = static_cast<int64_t>(ended.size());
  ended.clear();
  const MutexLock lock(mutex_);
  ending_ -= count;
  idle_.SignalAll();
}

void Executor::Impl::Cancel(const Job* job) {
  Ended ended;
  {
    const MutexLock lock(mutex_);
    const auto it = jobs_.find(job);
    if (it != jobs_.end()) Abandon(it->second.get(), absl::CancelledError("the client cancelled"), ended);
  }
  CallDone(std::move(ended));
}

void Executor::Impl::StopAdmission() {
  const MutexLock lock(mutex_);
  admitting_ = false;
}

bool Executor::Impl::AwaitIdle(Time deadline) {
  const MutexLock lock(mutex_);
  while (!jobs_.empty() || ending_ > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    idle_.WaitUntil(mutex_, deadline);
  }
  return true;
}

// Every active job moves forward in the fair order by the service it gets; the place
// where new jobs enter moves by the share that each active job gets on average.
void Executor::Impl::Charge(Entry* entry, double seconds) {
  entry->service_tag += seconds;
  virtual_seconds_ += seconds / static_cast<double>(std::max<size_t>(1, jobs_.size()));
}

std::optional<Executor::Impl::Step> Executor::Impl::Claim(Ended& ended) {
  const Time now = clock_.Now();
  while (!runnable_.empty()) {
    Entry* entry = *runnable_.begin();
    if (entry->Late(now)) {
      Abandon(entry, absl::DeadlineExceededError("the deadline passed before the request was computed"), ended);
      if (entry->end.has_value()) continue;
    }
    runnable_.erase(runnable_.begin());
    ++entry->steps_running;
    if (!entry->prepared) {
      --waiting_;
      entry->taken = now;
      entry->timings.queue = now - entry->submitted;
      TakeRiders(entry, now);
      return Step{entry, -1};
    }
    if (!entry->compute_begin.has_value()) entry->compute_begin = now;
    const int64_t tile = entry->next_tile++;
    Charge(entry, entry->TileSeconds());
    entry->round = RoundOf(entry->service_tag);
    if (entry->next_tile < entry->tiles) runnable_.insert(entry);
    return Step{entry, tile};
  }
  return std::nullopt;
}

void Executor::Impl::Execute(const Step& step) {
  if (step.tile < 0) {
    ExecutePrepare(step.entry);
  } else {
    ExecuteTile(step.entry, step.tile);
  }
}

void Executor::Impl::ExecutePrepare(Entry* entry) {
  const Time begin = clock_.Now();
  const absl::StatusOr<int64_t> tiles = entry->job->Prepare();
  const Duration took = clock_.Now() - begin;
  Ended ended;
  {
    const MutexLock lock(mutex_);
    busy_seconds_ += Seconds(took);
    entry->timings.prepare = took;
    entry->prepared = true;
    --entry->steps_running;
    if (!tiles.ok()) {
      Stop(entry, tiles.status(), ended);
    } else if (*tiles == 0) {
      Stop(entry, absl::OkStatus(), ended);
    } else if (entry->end.has_value()) {
      EndIfDue(entry, ended);
    } else {
      BeginStage(entry, *tiles);
    }
  }
  CallDone(std::move(ended));
}

// The worker that calls this takes the first tile itself.
void Executor::Impl::BeginStage(Entry* entry, int64_t tiles) {
  entry->tiles = tiles;
  entry->next_tile = 0;
  entry->tiles_done = 0;
  entry->tile_share = entry->job->StageShare() / static_cast<double>(tiles);
  runnable_.insert(entry);
  for (int64_t i = std::min<int64_t>(tiles, options_.workers); i > 1; --i) work_.Signal();
}

void Executor::Impl::ExecuteTile(Entry* entry, int64_t tile) {
  const Time begin = clock_.Now();
  absl::Status status = entry->job->RunTile(tile);
  const double seconds = Seconds(clock_.Now() - begin);
  Ended ended;
  {
    const MutexLock lock(mutex_);
    const double flops = entry->spec.flops * entry->tile_share;
    busy_seconds_ += seconds;
    flops_done_ += flops;
    ++tiles_done_;
    speed_.Add(flops, seconds);
    predicted_seconds_ = std::max(0.0, predicted_seconds_ - entry->TileSeconds());
    entry->seconds_done += entry->TileSeconds();
    ++entry->tiles_done;
    --entry->steps_running;
    if (!status.ok()) {
      // Moved: only the thread that calls Done owns it from here on.
      Stop(entry, std::move(status), ended);
    } else if (entry->tiles_done == entry->tiles && !entry->end.has_value()) {
      const bool prepared = entry->job->Prepares();
      const int64_t more = entry->job->NextStage();
      if (prepared) {
        entry->timings.prepare = clock_.Now() - *entry->taken;
        entry->compute_begin.reset();
      }
      if (more > 0) {
        BeginStage(entry, more);
      } else {
        Stop(entry, absl::OkStatus(), ended);
      }
    } else {
      EndIfDue(entry, ended);
    }
  }
  CallDone(std::move(ended));
}

bool Executor::Impl::RunOne() {
  std::optional<Step> step;
  Ended ended;
  {
    const MutexLock lock(mutex_);
    step = Claim(ended);
  }
  CallDone(std::move(ended));
  if (!step.has_value()) return false;
  Execute(*step);
  return true;
}

void Executor::Impl::WorkerMain() {
  if (options_.nice != 0) (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), options_.nice);
  while (true) {
    while (RunOne()) {
    }
    const MutexLock lock(mutex_);
    while (runnable_.empty() && !stopping_) work_.Wait(mutex_);
    if (runnable_.empty() && stopping_) return;
  }
}

ExecutorStats Executor::Impl::Stats() const {
  const MutexLock lock(mutex_);
  ExecutorStats stats;
  stats.workers = options_.workers;
  stats.jobs = static_cast<int64_t>(jobs_.size());
  stats.waiting = waiting_;
  const Time now = clock_.Now();
  for (const auto& [job, entry] : jobs_) {
    if (entry->taken.has_value()) continue;
    stats.oldest_wait = std::max(stats.oldest_wait, now - entry->submitted);
  }
  stats.bytes = BytesHeld();
  stats.predicted_seconds = predicted_seconds_;
  stats.busy_seconds = busy_seconds_;
  stats.flops_done = flops_done_;
  stats.tiles_done = tiles_done_;
  stats.worker_flops_per_second = speed_.flops_per_second();
  return stats;
}

double Executor::Impl::PredictSeconds(double flops) const {
  const MutexLock lock(mutex_);
  return flops / speed_.flops_per_second();
}

Executor::Executor(const Options& options, const Clock& clock) : impl_(std::make_unique<Impl>(options, clock)) {}
Executor::~Executor() = default;
absl::Status Executor::Submit(std::shared_ptr<Job> job, const JobSpec& spec) {
  return impl_->Submit(std::move(job), spec);
}
void Executor::Cancel(const Job* job) { impl_->Cancel(job); }
void Executor::StopAdmission() { impl_->StopAdmission(); }
bool Executor::AwaitIdle(Time deadline) { return impl_->AwaitIdle(deadline); }
bool Executor::RunOne() { return impl_->RunOne(); }
ExecutorStats Executor::Stats() const { return impl_->Stats(); }
double Executor::PredictSeconds(double flops) const { return impl_->PredictSeconds(flops); }

}  // namespace attnd
