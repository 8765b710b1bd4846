// The search for the highest rate of calls that a server takes within an objective.
#ifndef ATTND_CLIENT_LOAD_CAPACITY_H_
#define ATTND_CLIENT_LOAD_CAPACITY_H_

#include <atomic>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/objective.h"
#include "client/load/run_result.h"

namespace attnd::load {

struct CapacityOptions {
  Objective objective;
  // Calls per second. The search starts at the first and stays between the others.
  double start_rate = 100;
  double min_rate = 0.1;
  double max_rate = 1e6;
  // The highest rate that held and the lowest that did not end up within that part of each
  // other; at least 0.02, as rates have three digits.
  double precision = 0.05;
  // At most so many probes; then the search ends with what it has.
  int max_probes = 60;
};

// An open-loop run at that many calls per second, which has ended, its last calls answered,
// when the function returns: an overload leaves no backlog to the next probe.
using Probe = std::function<absl::StatusOr<RunResult>(double rate)>;

struct CapacityResult {
  // Its rate is 0 if none held.
  Capacity capacity;
  // In the order in which they were made; `repetition` counts those at the same rate.
  std::vector<RunResult> probes;
  // False: it ended early, by `stop` or max_probes. The rate is then the highest that held.
  bool finished = false;
};

// Doubles the rate until it fails (or halves it until it holds), bisects what lies between
// on a logarithmic scale, and looks at both ends once more. One probe decides only where it
// holds with room to spare; what fails or only just holds is repeated, so that neither a
// moment's noise nor luck decides, and so is what had too few calls to tell of the percentile
// (of a p99 300; probes should last long enough for that). Fails if `probe` does.
absl::StatusOr<CapacityResult> FindCapacity(const CapacityOptions& options, const Probe& probe,
                                            const std::atomic<bool>& stop);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_CAPACITY_H_
