// The executor's door: whether a job may enter, given what is inside.
#ifndef ATTND_CORE_RUNTIME_ADMISSION_H_
#define ATTND_CORE_RUNTIME_ADMISSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/runtime/clock.h"
#include "core/runtime/executor.h"

namespace attnd {

// What is inside: admitted jobs, the bytes that they and others hold, and the predicted
// time until all workers together are through with them.
struct Load {
  int64_t jobs = 0;
  int64_t bytes = 0;
  double seconds = 0;
};

// Whether a job that takes `seconds` of all workers may enter at `now`:
//   kDeadlineExceeded  its deadline has passed or is sooner than it can be done
//   kResourceExhausted a bound of `options` would be passed; RetryAfterOf says when half
//                      of the load will be done, which makes room for most requests
absl::Status CheckAdmission(const Executor::Options& options, const Load& load, const JobSpec& spec, double seconds,
                            Time now);

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_ADMISSION_H_
