// Results of load tests that nobody ran: calls at random times to a server that takes one at
// a time and equally long for each.
#ifndef ATTND_TESTS_UNIT_SIMULATED_LOAD_H_
#define ATTND_TESTS_UNIT_SIMULATED_LOAD_H_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "client/load/run_result.h"
#include "core/runtime/clock.h"
#include "tests/support/random.h"

namespace attnd::load {

// How calls come, and what the server does with them. Seconds.
struct Simulation {
  LoadPoint point{.model = LoadModel::kPoisson, .concurrency = 1, .rate = 100, .end_rate = 0};
  double service = 1e-3;
  double length = 10;
  // Once a second, at its middle, it stops for so long.
  double stall = 0;
  // Calls that find so many before them are refused; 0: none is.
  double longest_queue = 0;
  uint64_t seed = 1;
  // Whether the result has intervals.
  bool by_second = true;
};

inline Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// The client sends a call when the server is free for it, or when it is due if that is later:
// its service time shows nothing of the queue.
inline RunResult Simulate(const Simulation& simulation) {
  Random random(simulation.seed);
  RunResult run;
  run.point = simulation.point;
  run.warm_up_seconds = 1;
  run.seconds = simulation.length;
  if (simulation.by_second) run.intervals.resize(static_cast<size_t>(std::ceil(simulation.length)));
  for (size_t i = 0; i < run.intervals.size(); ++i) run.intervals[i].begin = static_cast<double>(i);
  double due = 0;
  double free = 0;
  int64_t stalls = 0;
  Interval unused;
  const auto interval_at = [&](double time) -> Interval& {
    const auto second = static_cast<size_t>(time);
    return second < run.intervals.size() ? run.intervals[second] : unused;
  };
  while (true) {
    due += -std::log(1 - static_cast<double>(random.Uniform())) / simulation.point.rate;
    if (due >= simulation.length) break;
    ++run.calls;
    Interval& interval = interval_at(due);
    if (simulation.longest_queue > 0 && free - due > simulation.longest_queue * simulation.service) {
      ++interval.failed;
      StatusCount& refused = run.statuses["RESOURCE_EXHAUSTED"];
      ++refused.calls;
      refused.first_message = "the queue is full: 64 jobs wait, come back in 12 ms";
      continue;
    }
    const double sent = std::max(due, free);
    free = sent + simulation.service * (0.9 + 0.2 * static_cast<double>(random.Uniform()));
    if (simulation.stall > 0 && free > static_cast<double>(stalls) + 0.5) {
      ++stalls;
      free += simulation.stall;
    }
    run.response.Record(FromSeconds(free - due));
    run.service.Record(FromSeconds(free - sent));
    run.send_delay.Record(FromSeconds(sent - due));
    interval.response.Record(FromSeconds(free - due));
    interval.service.Record(FromSeconds(free - sent));
    ++run.answered;
    ++interval_at(free).answered;
  }
  if (run.answered > 0) run.statuses["OK"] = {run.answered, ""};
  return run;
}

}  // namespace attnd::load

#endif  // ATTND_TESTS_UNIT_SIMULATED_LOAD_H_
