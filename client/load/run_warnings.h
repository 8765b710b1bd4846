// What a user should know before trusting a run's numbers.
#ifndef ATTND_CLIENT_LOAD_RUN_WARNINGS_H_
#define ATTND_CLIENT_LOAD_RUN_WARNINGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/load/run_result.h"

namespace attnd::load {

// Whole sentences about a finished run. `fell_behind` is how many more calls waited for an
// answer at its end than at its beginning, if that means anything, or else 0.
std::vector<std::string> WarningsOf(const RunResult& run, int64_t fell_behind);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RUN_WARNINGS_H_
