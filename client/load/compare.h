// Two load tests side by side: what changed, and how sure that is.
#ifndef ATTND_CLIENT_LOAD_COMPARE_H_
#define ATTND_CLIENT_LOAD_COMPARE_H_

#include <string>

#include "absl/status/statusor.h"

namespace attnd::load {

// A file that --json wrote.
struct NamedJson {
  // For messages: its path.
  std::string name;
  std::string text;
};

// Per point that both have, per measure: old, new, difference in %, its 95 % confidence
// interval and "faster", "slower" ("better", "worse" of what is no speed), or "no difference
// shown" where the interval includes 0. The interval comes from repetitions, or, where a side
// has one run only, from the seconds of the runs. Before that a line each where requests, servers
// or durations differ. At most 100 columns wide.
// kInvalidArgument if either is no report, or they have no point in common.
absl::StatusOr<std::string> Compare(const NamedJson& before, const NamedJson& after);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_COMPARE_H_
