#include "client/load/run_watch.h"

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <thread>
#include <vector>

namespace attnd::load {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{10};
constexpr milliseconds kReport{250};
// Reports that "the last second or so" is made of.
constexpr size_t kRecentReports = 4;

}  // namespace

RunWatch::RunWatch(RunCourse* course, LoadThreads* threads, const std::function<void(const Progress&)>& progress)
    : course_(*course),
      threads_(*threads),
      progress_(progress),
      next_report_(Clock::Real().Now() + kReport),
      last_report_(Clock::Real().Now()) {}

void RunWatch::UntilFinished(const std::atomic<bool>& stop) {
  for (;;) {
    const bool finished =
        std::all_of(threads_.begin(), threads_.end(), [](const LoadThread& thread) { return thread.finished(); });
    const Time now = Clock::Real().Now();
    if (stop && !finished && !interrupted_) {
      interrupted_ = true;
      course_.Stop();
    }
    Look(now, finished);
    if (finished) return;
    if (progress_ && now >= next_report_) Report(now);
    std::this_thread::sleep_for(kLook);
  }
}

void RunWatch::Look(Time now, bool finished) {
  if (!meter_.has_value() && now >= course_.measured_begin()) {
    std::vector<clockid_t> clocks;
    for (LoadThread& thread : threads_) {
      for (const clockid_t clock : thread.clocks()) clocks.push_back(clock);
    }
    meter_.emplace(std::move(clocks));
    outstanding_at_begin_ = Outstanding();
  }
  if (meter_.has_value() && !ended_ && (finished || now >= course_.end())) {
    ended_ = true;
    cost_ = meter_->Read();
    outstanding_at_end_ = Outstanding();
  }
}

void RunWatch::Report(Time now) {
  Progress progress;
  const RunPlan& plan = course_.plan();
  progress.point = plan.point;
  progress.warming_up = now < course_.measured_begin();
  progress.seconds = Seconds(now - course_.measured_begin() + plan.warm_up);
  progress.seconds_left = std::max(0.0, Seconds(course_.end() - now));

  LatencyHistogram answers;
  for (LoadThread& thread : threads_) {
    const LiveCounts live = thread.TakeLive();
    progress.answered += live.answered;
    progress.failed += live.failed;
    answers.Add(live.response);
  }
  if (plan.calls.has_value() && progress.answered + progress.failed > 0) {
    const auto done = static_cast<double>(progress.answered + progress.failed);
    const double left = static_cast<double>(*plan.calls) - done;
    progress.seconds_left = std::clamp(progress.seconds * left / done, 0.0, progress.seconds_left);
  }
  recent_.emplace_back(last_report_, std::move(answers));
  if (recent_.size() > kRecentReports) recent_.pop_front();
  LatencyHistogram recent;
  for (const auto& [begin, part] : recent_) recent.Add(part);
  progress.rate = static_cast<double>(recent.count()) / Seconds(now - recent_.front().first);
  progress.p50 = recent.Percentile(0.5);
  progress.p99 = recent.Percentile(0.99);
  last_report_ = now;
  next_report_ = now + kReport;
  progress_(progress);
}

int64_t RunWatch::Outstanding() const {
  int64_t sum = 0;
  for (const LoadThread& thread : threads_) sum += thread.outstanding();
  return sum;
}

}  // namespace attnd::load
