#include "client/load/run_course.h"

#include <algorithm>

namespace attnd::load {

RunCourse::RunCourse(const RunPlan& plan, Time begin)
    : plan_(plan), measured_begin_(begin + plan.warm_up), end_(measured_begin_ + plan.duration) {}

RunCourse::Part RunCourse::Admit(Time time) {
  if (stopped_) return Part::kOver;
  if (time < measured_begin_) return Part::kWarmUp;
  if (time >= measured_begin_ + plan_.duration) return Part::kOver;
  if (!plan_.calls.has_value() || measured_calls_.fetch_add(1) < *plan_.calls) return Part::kMeasured;
  EndAt(time);
  return Part::kOver;
}

void RunCourse::Stop() {
  const Time now = Clock::Real().Now();
  EndAt(now);
  {
    const std::lock_guard lock(mutex_);
    stop_time_ = now;
  }
  stopped_ = true;
}

Time RunCourse::stop_time() const {
  const std::lock_guard lock(mutex_);
  return stop_time_;
}

Time RunCourse::end() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

void RunCourse::EndAt(Time time) {
  const std::lock_guard lock(mutex_);
  end_ = std::clamp(time, measured_begin_, end_);
}

}  // namespace attnd::load
