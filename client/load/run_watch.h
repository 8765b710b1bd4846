// Looks after the threads of a run: progress, cost, and an early end.
#ifndef ATTND_CLIENT_LOAD_RUN_WATCH_H_
#define ATTND_CLIENT_LOAD_RUN_WATCH_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "client/load/client_cost.h"
#include "client/load/driver.h"
#include "client/load/load_thread.h"
#include "client/load/recorder.h"
#include "client/load/run_course.h"
#include "client/load/run_result.h"
#include "core/runtime/clock.h"

namespace attnd::load {

using LoadThreads = std::deque<LoadThread>;

// Thread-compatible. What it is made of must outlive it.
class RunWatch {
 public:
  RunWatch(RunCourse* course, LoadThreads* threads, const std::function<void(const Progress&)>& progress);

  // Returns when all threads have finished, which they do soon once `stop` is set.
  void UntilFinished(const std::atomic<bool>& stop);

  // After that:
  [[nodiscard]] bool interrupted() const { return interrupted_; }
  // In the measured part.
  [[nodiscard]] const ClientCost& cost() const { return cost_; }
  // How many more calls were due and not answered at the end of the measured part than at its
  // beginning.
  [[nodiscard]] int64_t backlog() const { return outstanding_at_end_ - outstanding_at_begin_; }

 private:
  void Look(Time now, bool finished);
  void Report(Time now);
  [[nodiscard]] int64_t Outstanding() const;

  RunCourse& course_;
  LoadThreads& threads_;
  const std::function<void(const Progress&)>& progress_;
  Time next_report_;
  // What each of the last reports had to tell, and from when on.
  std::deque<std::pair<Time, LatencyHistogram>> recent_;
  Time last_report_;
  std::optional<CostMeter> meter_;
  ClientCost cost_;
  int64_t outstanding_at_begin_ = 0;
  int64_t outstanding_at_end_ = 0;
  bool ended_ = false;
  bool interrupted_ = false;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RUN_WATCH_H_
