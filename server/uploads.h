// Uploads of weights in progress: how much they may hold together, a thread that does their
// work, and an end for those that stop coming.
//
// The thread copies and hashes chunks and packs weights, at the workers' nice value and one
// piece at a time: the poller never waits for it, and attention loses one thread to it at
// most. An upload is read no faster than it is worked on, one message after the other.
#ifndef ATTND_SERVER_UPLOADS_H_
#define ATTND_SERVER_UPLOADS_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <set>
#include <thread>

#include "absl/status/status.h"
#include "core/runtime/clock.h"
#include "core/runtime/mutex.h"

namespace attnd {

// An upload as its keeper sees it.
class Upload {
 public:
  virtual ~Upload() = default;
  // Ends the call with `status` if it has been waiting for its client since `since` or
  // longer. Called with the keeper's lock held: may call ReleaseRoom, nothing else of it.
  virtual void EndIfWaiting(Time since, const absl::Status& status) = 0;
};

// Thread-safe.
class Uploads {
 public:
  struct Options {
    // Of all uploads together. Raising these lets more clients upload at a time, and takes
    // more memory.
    int64_t max_uploads = 64;
    int64_t max_bytes = int64_t{4} << 30;
    // Time without progress after which an upload is ended.
    std::chrono::milliseconds idle{60'000};
  };

  explicit Uploads(const Options& options);
  // Joins the thread. REQUIRES: no upload is left.
  ~Uploads();
  Uploads(const Uploads&) = delete;
  Uploads& operator=(const Uploads&) = delete;

  // Watches over `upload` until Leave. kUnavailable once stopped; Leave is needed even so.
  absl::Status Enter(Upload* upload) ATTND_EXCLUDES(mutex_);
  void Leave(Upload* upload) ATTND_EXCLUDES(mutex_);

  // Counts one upload of `bytes` until ReleaseRoom. kResourceExhausted beyond the bounds,
  // with a time to come back.
  absl::Status TakeRoom(int64_t bytes) ATTND_EXCLUDES(room_mutex_);
  void ReleaseRoom(int64_t bytes) ATTND_EXCLUDES(room_mutex_);

  // Has the thread do `work`, in the order of these calls.
  void Run(std::function<void()> work) ATTND_EXCLUDES(mutex_);

  // Ends uploads with kUnavailable, soon or when they next wait for their clients, and those
  // that begin from now on. Those that have come as a whole are finished.
  void Stop() ATTND_EXCLUDES(mutex_);

 private:
  void Work() ATTND_EXCLUDES(mutex_);
  void EndIdle(Time now) ATTND_REQUIRES(mutex_);

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  std::set<Upload*> uploads_ ATTND_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> work_ ATTND_GUARDED_BY(mutex_);
  bool stopped_ ATTND_GUARDED_BY(mutex_) = false;
  bool ending_ ATTND_GUARDED_BY(mutex_) = false;
  Mutex room_mutex_;
  int64_t count_ ATTND_GUARDED_BY(room_mutex_) = 0;
  int64_t bytes_ ATTND_GUARDED_BY(room_mutex_) = 0;
  std::thread thread_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_UPLOADS_H_
