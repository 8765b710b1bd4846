#include "core/runtime/admission.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace attnd {
namespace {

constexpr auto kShortestRetry = std::chrono::milliseconds(5);
constexpr auto kLongestRetry = std::chrono::milliseconds(30'000);

absl::Status Refuse(const Load& load, const std::string& problem) {
  const double half = std::min(1000 * load.seconds / 2, double{kLongestRetry.count()});
  const auto drain = std::chrono::milliseconds(static_cast<int64_t>(half));
  return Overloaded(absl::StrCat("the queue is full: ", problem), std::clamp(drain, kShortestRetry, kLongestRetry));
}

}  // namespace

absl::Status CheckAdmission(const Executor::Options& options, const Load& load, const JobSpec& spec, double seconds,
                            Time now) {
  if (spec.deadline.has_value()) {
    if (*spec.deadline <= now) {
      return absl::DeadlineExceededError("the deadline passed before the request was admitted");
    }
    const double left = Seconds(*spec.deadline - now);
    if (seconds > left) {
      return absl::DeadlineExceededError(
          absl::StrCat("the request needs about ", seconds, " s of compute; its deadline is in ", left, " s"));
    }
  }
  if (load.jobs >= options.max_jobs) {
    return Refuse(load, absl::StrCat(load.jobs, " requests admitted, the limit is ", options.max_jobs));
  }
  if ((load.jobs > 0 || load.bytes > 0) && spec.bytes > options.max_bytes - load.bytes) {
    return Refuse(load, absl::StrCat(load.bytes, " bytes held, the request needs ", spec.bytes, ", the limit is ",
                                     options.max_bytes));
  }
  if (load.jobs > 0 && load.seconds + seconds > options.max_predicted_seconds) {
    return Refuse(load, absl::StrCat("about ", load.seconds, " s of work admitted, the request needs ", seconds,
                                     " s, the limit is ", options.max_predicted_seconds, " s"));
  }
  return absl::OkStatus();
}

}  // namespace attnd
