#include "client/load/load_thread.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/load/exact_sleep.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;

// Between looks at whether the run was stopped.
constexpr milliseconds kLookAround{20};
// Before a call is sent again that found no server, at first and at most.
constexpr milliseconds kFirstPause{10};
constexpr milliseconds kLongestPause{1000};
// Sends whose times are kept, over all threads.
constexpr size_t kMaxArrivals = 1'000'000;

std::vector<double> WeightsOf(const std::vector<Work>& works) {
  std::vector<double> weights;
  weights.reserve(works.size());
  for (const Work& work : works) weights.push_back(work.weight);
  return weights;
}

}  // namespace

LoadThread::LoadThread(ThreadShare share, const std::vector<Work>& works, Verifier* verifier, RunCourse* course)
    : share_(std::move(share)),
      works_(works),
      verifier_(verifier),
      course_(course),
      open_(course->plan().point.model != LoadModel::kClosed),
      recorder_(works, course->measured_begin(), course->plan().good_latency,
                open_ ? kMaxArrivals / static_cast<size_t>(share_.threads) : 0),
      paced_(works, course->measured_begin(), course->plan().good_latency, 0),
      choice_(WeightsOf(works), ChoiceSeed(share_.seed, share_.index)),
      // Threads begin with different ones.
      next_endpoint_(static_cast<size_t>(share_.index)),
      pacing_(open_) {}

void LoadThread::Start() {
  receiver_ = std::thread([this] { Receive(); });
  if (open_) pacer_ = std::thread([this] { Pace(); });
}

std::vector<clockid_t> LoadThread::clocks() {
  std::vector<clockid_t> clocks;
  for (std::thread* thread : {&receiver_, &pacer_}) {
    clockid_t clock{};
    if (thread->joinable() && pthread_getcpuclockid(thread->native_handle(), &clock) == 0) clocks.push_back(clock);
  }
  return clocks;
}

int64_t LoadThread::outstanding() const {
  const std::lock_guard lock(mutex_);
  return in_flight_ - ahead_ + static_cast<int64_t>(kept_.size());
}

LiveCounts LoadThread::TakeLive() {
  LiveCounts live = recorder_.TakeLive();
  live.failed += paced_.TakeLive().failed;
  return live;
}

void LoadThread::Join() {
  joining_ = true;
  joining_.notify_all();
  receiver_.join();
  if (pacer_.joinable()) pacer_.join();
  recorder_.Add(paced_);
}

void LoadThread::Pace() {
  ExactSleep sleep;
  const RunPlan& plan = course_->plan();
  Arrivals arrivals(plan.point, plan.warm_up, plan.duration, share_.seed);
  for (int64_t i = 0;; ++i) {
    const Time intended = course_->measured_begin() + arrivals.Next();
    if (i % share_.threads != share_.index) continue;
    const std::optional<Due> due = Admit(intended);
    if (!due.has_value()) break;
    Call* call = Take(*due, /*keep=*/false);
    if (call != nullptr) Prepare(call);
    const bool in_time = sleep.Until(intended, course_->stopped());
    if (call != nullptr) {
      --ahead_;
      // Even if the run was stopped: a call that was prepared must be sent to be cancelled.
      call->Send(Clock::Real().Now(), &sends_);
    } else if (in_time && (call = Take(*due, /*keep=*/true)) != nullptr) {
      PrepareAndSend(call);
    }
    if (!in_time) break;
  }
  {
    const std::lock_guard lock(mutex_);
    pacing_ = false;
  }
  joining_.wait(false);
}

void LoadThread::Receive() {
  std::this_thread::sleep_until(course_->begin());
  for (int i = 0; i < share_.callers; ++i) {
    if (const auto due = Admit(Clock::Real().Now())) PrepareAndSend(Take(*due, /*keep=*/false));
  }
  bool cancelled = false;
  while (!NothingLeft()) {
    void* tag = nullptr;
    bool ok = false;
    const auto next = queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kLookAround);
    if (next == grpc::CompletionQueue::GOT_EVENT) OnEvent(static_cast<Call*>(tag), Clock::Real().Now());
    if (course_->stopped() && !cancelled) {
      const std::unique_lock lock(mutex_);
      if (pacing_) continue;
      CancelAll();
      cancelled = true;
    }
  }
  GiveUpKept();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
  finished_ = true;
  // Its CPU clock is read until the end of the run.
  joining_.wait(false);
}

std::optional<LoadThread::Due> LoadThread::Admit(Time intended) {
  const RunCourse::Part part = course_->Admit(intended);
  if (part == RunCourse::Part::kOver) return std::nullopt;
  return Due{intended, choice_.Next(), part == RunCourse::Part::kMeasured};
}

Call* LoadThread::Take(const Due& due, bool keep) {
  {
    const std::lock_guard lock(mutex_);
    if (!open_ || in_flight_ < share_.max_in_flight) {
      if (open_ && !keep) ++ahead_;
      Call* const call = TakeIdle();
      Fill(call, due);
      return call;
    }
    if (!keep) return nullptr;
    if (kept_.size() < share_.max_kept) {
      kept_.push_back(due);
      return nullptr;
    }
  }
  RecordUnsent(due, Clock::Real().Now(),
               {grpc::StatusCode::UNAVAILABLE,
                absl::StrCat("not sent, as ", share_.max_kept, " calls waited for others to be answered")},
               &paced_);
  return nullptr;
}

Call* LoadThread::TakeIdle() {
  if (idle_.empty()) idle_.push_back(calls_.emplace_back(std::make_unique<Call>()).get());
  Call* const call = idle_.back();
  idle_.pop_back();
  ++in_flight_;
  return call;
}

void LoadThread::Fill(Call* call, const Due& due) {
  call->record.work = due.work;
  call->record.intended = due.intended;
  call->record.measured = due.measured;
}

void LoadThread::GiveBack(Call* call) {
  call->Reset();
  const std::lock_guard lock(mutex_);
  idle_.push_back(call);
}

void LoadThread::Leave() {
  const std::lock_guard lock(mutex_);
  --in_flight_;
}

void LoadThread::Prepare(Call* call) {
  Endpoint& endpoint = share_.endpoints[next_endpoint_.fetch_add(1) % share_.endpoints.size()];
  call->Prepare(&endpoint, works_[call->record.work], DeadlineOf(call->record.intended), &queue_);
}

void LoadThread::PrepareAndSend(Call* call) {
  Prepare(call);
  call->Send(Clock::Real().Now(), &sends_);
}

void LoadThread::OnEvent(Call* call, Time now) {
  // See Call::Send.
  sends_.load();
  if (call->pausing()) {
    AfterPause(call, now);
    return;
  }
  call->Finished(now);
  const bool stopped = course_->stopped();
  if (!stopped && Retry(call)) return;
  if (stopped) {
    GiveUp(call->record.intended, call->record.measured);
    Leave();
  } else {
    // First the next call, so that the server does not wait for what follows here.
    if (open_) {
      SendKept();
    } else {
      NextOfCaller(*call);
    }
    Record(call);
  }
  GiveBack(call);
}

void LoadThread::AfterPause(Call* call, Time now) {
  if (!course_->stopped()) {
    if (call->attempts() > 0) {
      PrepareAndSend(call);
      return;
    }
    if (const auto due = Admit(now)) {
      Fill(call, *due);
      PrepareAndSend(call);
      return;
    }
  } else if (call->attempts() > 0) {
    GiveUp(call->record.intended, call->record.measured);
  }
  Leave();
  GiveBack(call);
}

bool LoadThread::Retry(Call* call) {
  const grpc::StatusCode code = call->record.status.error_code();
  if (code != grpc::StatusCode::RESOURCE_EXHAUSTED && code != grpc::StatusCode::UNAVAILABLE) return false;
  const std::optional<milliseconds> hint = call->Pushback();
  if (hint.has_value() && hint->count() >= 0) ++call->record.pushbacks;
  if (call->attempts() >= share_.max_attempts) return false;
  if (hint.has_value() && hint->count() < 0) return false;
  if (!hint.has_value() && code == grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  // Two to the 10th times the first pause is far beyond the longest.
  const milliseconds backoff = std::min(kLongestPause, kFirstPause * (1 << std::min(call->attempts() - 1, 10)));
  const milliseconds pause = hint.value_or(backoff);
  const std::optional<Time> deadline = DeadlineOf(call->record.intended);
  if (deadline.has_value() && call->record.done + pause >= *deadline) return false;
  call->Pause(pause, &queue_);
  return true;
}

void LoadThread::NextOfCaller(const Call& last) {
  Leave();
  if (last.record.status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    const std::lock_guard lock(mutex_);
    TakeIdle()->Pause(kFirstPause, &queue_);
  } else if (const auto due = Admit(last.record.done)) {
    PrepareAndSend(Take(*due, /*keep=*/false));
  }
}

void LoadThread::SendKept() {
  std::vector<Due> expired;
  Call* next = nullptr;
  const Time now = Clock::Real().Now();
  {
    const std::lock_guard lock(mutex_);
    --in_flight_;
    while (next == nullptr && !kept_.empty()) {
      const Due due = kept_.front();
      kept_.pop_front();
      const std::optional<Time> deadline = DeadlineOf(due.intended);
      if (deadline.has_value() && now >= *deadline) {
        expired.push_back(due);
      } else {
        next = TakeIdle();
        Fill(next, due);
      }
    }
  }
  if (next != nullptr) PrepareAndSend(next);
  for (const Due& due : expired) {
    RecordUnsent(due, now, {grpc::StatusCode::DEADLINE_EXCEEDED, "not sent in time, as too many calls were in flight"},
                 &recorder_);
  }
}

void LoadThread::Record(Call* call) {
  CallRecord& record = call->record;
  if (!record.status.ok()) {
    record.status = {record.status.error_code(), call->Message()};
  } else if (verifier_ != nullptr) {
    if (const auto timings = verifier_->Take(record.work, call->reply()); timings.ok()) record.timings = *timings;
  }
  recorder_.Record(record);
}

void LoadThread::RecordUnsent(const Due& due, Time now, const grpc::Status& status, Recorder* recorder) {
  CallRecord record;
  record.work = due.work;
  record.intended = due.intended;
  record.first_sent = record.sent = record.done = now;
  record.measured = due.measured;
  record.status = status;
  recorder->Record(record);
}

void LoadThread::GiveUp(Time intended, bool measured) {
  const Duration waited = course_->stop_time() - intended;
  if (measured && waited >= Duration(0)) recorder_.RecordGivenUp(waited);
}

void LoadThread::GiveUpKept() {
  const std::lock_guard lock(mutex_);
  for (const Due& due : kept_) GiveUp(due.intended, due.measured);
}

std::optional<Time> LoadThread::DeadlineOf(Time intended) const {
  if (share_.timeout.count() == 0) return std::nullopt;
  return intended + share_.timeout;
}

bool LoadThread::NothingLeft() const {
  const std::lock_guard lock(mutex_);
  return !pacing_ && in_flight_ == 0 && (kept_.empty() || course_->stopped());
}

void LoadThread::CancelAll() {
  for (const auto& call : calls_) call->Cancel();
}

}  // namespace attnd::load
