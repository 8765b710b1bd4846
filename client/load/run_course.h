// One run as its threads share it: what is measured, and when it is over.
#ifndef ATTND_CLIENT_LOAD_RUN_COURSE_H_
#define ATTND_CLIENT_LOAD_RUN_COURSE_H_

#include <atomic>
#include <cstdint>
#include <mutex>

#include "client/load/driver.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// Thread-safe.
class RunCourse {
 public:
  RunCourse(const RunPlan& plan, Time begin);

  enum class Part { kWarmUp, kMeasured, kOver };
  // What a call is part of that is intended to be sent at `time`; kOver: it must not be sent.
  // To be asked once for each call.
  Part Admit(Time time);

  // Ends the run now: no more calls, and those under way are given up.
  void Stop();
  [[nodiscard]] const std::atomic<bool>& stopped() const { return stopped_; }
  // REQUIRES: stopped().
  [[nodiscard]] Time stop_time() const;

  [[nodiscard]] const RunPlan& plan() const { return plan_; }
  [[nodiscard]] Time begin() const { return measured_begin_ - plan_.warm_up; }
  [[nodiscard]] Time measured_begin() const { return measured_begin_; }
  // Of the measured part; moves to an earlier time if calls run out or when it is stopped.
  [[nodiscard]] Time end() const;

 private:
  void EndAt(Time time);

  const RunPlan plan_;
  const Time measured_begin_;
  std::atomic<int64_t> measured_calls_{0};
  std::atomic<bool> stopped_{false};
  mutable std::mutex mutex_;
  Time end_;
  Time stop_time_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RUN_COURSE_H_
