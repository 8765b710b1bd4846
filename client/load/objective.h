// What a user wants of a server, as written on a command line: objectives ("p99=20ms,
// errors=0.1%") and conditions of failure ("p99>20ms").
#ifndef ATTND_CLIENT_LOAD_OBJECTIVE_H_
#define ATTND_CLIENT_LOAD_OBJECTIVE_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/load/run_result.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// A percentile of the response time is to be at most that, and failed calls at most that
// share of all.
struct Objective {
  // 0..1.
  double percentile = 0.99;
  Duration latency{};
  // 0..1.
  double errors = 0;
  std::string text;
};

// "p99=20ms[,errors=0.1%]"; errors default to 0.1 %.
absl::StatusOr<Objective> ParseObjective(const std::string& text);

// Not if calls failed without a response time (see RunResult), more than the percentile leaves
// over.
bool Holds(const Objective& objective, const RunResult& run);

// MEASURE OP VALUE: p50, p90, p95, p99, p99.9, max, mean (of the response time, or with
// "service." before it of the service time), errors (share), throughput (answered calls per
// second), goodput; < or >; a time, a percentage or a number.
struct FailIf {
  std::string measure;
  bool above = true;
  double value = 0;
  std::string text;
};
absl::StatusOr<FailIf> ParseFailIf(const std::string& text);

// Over all runs; the detail tells of the worst. A measure without a value fails: where no call
// was answered, and of a time where more calls failed without one than the percentile leaves
// over (max and mean: any).
Condition Judge(const FailIf& condition, const LoadReport& report);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_OBJECTIVE_H_
