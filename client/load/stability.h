// Whether a run had settled: three windows in a row that agree.
#ifndef ATTND_CLIENT_LOAD_STABILITY_H_
#define ATTND_CLIENT_LOAD_STABILITY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/load/latency_histogram.h"
#include "client/load/run_result.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// A part of a run.
struct StabilityWindow {
  double seconds = 0;
  int64_t answered = 0;
  // In seconds.
  double median = 0;
};

// Of the last three windows.
Stability CheckStability(const std::vector<StabilityWindow>& windows);

// What the windows are made of while a run goes on, whose length is not known: answers by the
// time they came, in bins that get twice as long whenever there are too many of them.
// Thread-compatible.
class StabilityBins {
 public:
  // `time` is from the start of the measured part; earlier ones are left out.
  void Record(Duration time, Duration response);
  void Add(const StabilityBins& other);

  // The run's thirds, of those bins that lie wholly before `end`; fewer than three if the run
  // is too short.
  [[nodiscard]] std::vector<StabilityWindow> Thirds(Duration end) const;

 private:
  void Widen();

  Duration width_ = std::chrono::milliseconds(20);
  std::vector<LatencyHistogram> bins_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_STABILITY_H_
