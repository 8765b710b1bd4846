// SIGTERM and SIGINT: the first asks to stop, the second means at once.
#ifndef ATTND_SERVER_SIGNALS_H_
#define ATTND_SERVER_SIGNALS_H_

#include <chrono>
#include <thread>

#include "core/runtime/mutex.h"

namespace attnd {

// Blocks the signals in this thread and those it starts. Call in main before any thread
// exists, so that only StopSignals gets them.
void BlockStopSignals();

// Waits for the signals on a thread of its own from construction to destruction. The
// second one ends the process there and then, with 128 + its number; one that follows the
// first within 100 ms is its echo (timeout(1) signals a process and then its group).
// Thread-safe.
class StopSignals {
 public:
  // REQUIRES: BlockStopSignals has been called.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Waits for the first signal and returns its number.
  int AwaitFirst() ATTND_EXCLUDES(mutex_);

 private:
  void Watch() ATTND_EXCLUDES(mutex_);

  Mutex mutex_;
  CondVar came_;
  int first_ ATTND_GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point came_at_ ATTND_GUARDED_BY(mutex_);
  const int signals_;
  const int end_;
  std::thread thread_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_SIGNALS_H_
