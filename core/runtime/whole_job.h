// A job from its first step to its last on one thread.
#ifndef ATTND_CORE_RUNTIME_WHOLE_JOB_H_
#define ATTND_CORE_RUNTIME_WHOLE_JOB_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/runtime/clock.h"
#include "core/runtime/executor.h"

namespace attnd {

// What came of it, for Job::Done, which is left to the caller.
struct WholeJob {
  absl::Status status;
  JobTimings timings;
  // That were computed.
  int64_t tiles = 0;
};

// Prepares `job` and runs all tiles of all its stages, up to the first failure. `clock` is read
// three times.
WholeJob RunWholeJob(Job& job, const Clock& clock);

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_WHOLE_JOB_H_
