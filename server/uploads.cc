#include "server/uploads.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace attnd {
namespace {

constexpr int kNice = 10;
constexpr std::chrono::milliseconds kRetryAfter{1000};
// Looks for idle uploads per idle time; and once stopped, for those that wait again.
constexpr int kLooks = 4;
constexpr Duration kStopInterval = std::chrono::milliseconds(10);

absl::Status Draining() { return absl::UnavailableError("the server is draining"); }

}  // namespace

Uploads::Uploads(const Options& options) : options_(options), thread_(&Uploads::Work, this) {}

Uploads::~Uploads() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

absl::Status Uploads::Enter(Upload* upload) {
  const MutexLock lock(mutex_);
  uploads_.insert(upload);
  return stopped_ ? Draining() : absl::OkStatus();
}

void Uploads::Leave(Upload* upload) {
  const MutexLock lock(mutex_);
  uploads_.erase(upload);
}

absl::Status Uploads::TakeRoom(int64_t bytes) {
  const MutexLock lock(room_mutex_);
  if (count_ >= options_.max_uploads || bytes > options_.max_bytes - bytes_) {
    return Overloaded(absl::StrCat("uploads in progress: ", count_, " of ", options_.max_uploads, ", with ", bytes_,
                                   " of ", options_.max_bytes, " bytes; this one has ", bytes),
                      kRetryAfter);
  }
  ++count_;
  bytes_ += bytes;
  return absl::OkStatus();
}

void Uploads::ReleaseRoom(int64_t bytes) {
  const MutexLock lock(room_mutex_);
  --count_;
  bytes_ -= bytes;
}

void Uploads::Run(std::function<void()> work) {
  const MutexLock lock(mutex_);
  work_.push_back(std::move(work));
  changed_.SignalAll();
}

void Uploads::Stop() {
  const MutexLock lock(mutex_);
  stopped_ = true;
  changed_.SignalAll();
}

void Uploads::EndIdle(Time now) {
  const Time since = stopped_ ? Time::max() : now - options_.idle;
  const absl::Status status =
      stopped_ ? Draining()
               : absl::DeadlineExceededError(absl::StrCat("no chunk came for ", options_.idle.count(), " ms"));
  for (Upload* upload : uploads_) upload->EndIfWaiting(since, status);
}

void Uploads::Work() {
  setpriority(PRIO_PROCESS, 0, kNice);  // of this thread alone, on Linux
  const Duration interval = std::max<Duration>(options_.idle / kLooks, std::chrono::milliseconds(1));
  Time next_look = Clock::Real().Now() + interval;
  const MutexLock lock(mutex_);
  while (!ending_ || !work_.empty()) {
    if (const Time now = Clock::Real().Now(); now >= next_look || (stopped_ && work_.empty())) {
      EndIdle(now);
      next_look = now + (stopped_ ? kStopInterval : interval);
    }
    if (work_.empty()) {
      changed_.WaitUntil(mutex_, next_look);
      continue;
    }
    const std::function<void()> work = std::move(work_.front());
    work_.pop_front();
    mutex_.Unlock();
    work();
    mutex_.Lock();
  }
}

}  // namespace attnd
