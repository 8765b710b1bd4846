// Drives calls: when to send which, and what came of it.
#ifndef ATTND_CLIENT_LOAD_DRIVER_H_
#define ATTND_CLIENT_LOAD_DRIVER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/load/run_result.h"
#include "client/load/verifier.h"
#include "client/load/work.h"
#include "core/runtime/clock.h"

namespace attnd::load {

struct DriverOptions {
  // Calls go to them in turn.
  std::vector<std::string> addresses;
  // Connections to each address. More let more calls be under way; one is best up to about 30.
  int channels = 1;
  // Threads that send and receive; channels are dealt to them.
  int threads = 1;
  // Of each call, from its intended send time on and pauses included; 0 for none.
  std::chrono::milliseconds timeout{30'000};
  // Calls that are refused with a hint are sent again after it, and those that found no server
  // after a pause, up to so many times in all. The response time then includes the pauses; the
  // service time is that of the last attempt.
  int max_attempts = 1;
  // Open loop: calls that are due while so many are in flight wait for one of them, and
  // their response times show it. With a million of them waiting, more fail as UNAVAILABLE.
  int max_in_flight = 4096;
  uint64_t seed = 1;
};

// One run at one point.
struct RunPlan {
  LoadPoint point;
  // Not measured, at the same point.
  Duration warm_up = std::chrono::seconds(1);
  // How long to measure, or how many calls if `calls` is set; whatever comes first.
  Duration duration = std::chrono::seconds(10);
  std::optional<int64_t> calls;
  // For RunResult::good.
  std::optional<Duration> good_latency;
};

// What is known while a run goes on, about four times a second.
struct Progress {
  LoadPoint point;
  bool warming_up = false;
  double seconds = 0;
  double seconds_left = 0;
  // Of the last second or so.
  double rate = 0;
  double p50 = 0;
  double p99 = 0;
  // So far.
  int64_t answered = 0;
  int64_t failed = 0;
};

// Thread-compatible. Must not outlive `works` and `verifier`, which may be nullptr.
class Driver {
 public:
  Driver(const DriverOptions& options, const std::vector<Work>& works, Verifier* verifier);
  Driver(const DriverOptions& options, std::vector<Work>&& works, Verifier* verifier) = delete;
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // Connects to every address. kUnavailable "no server at ADDRESS (...)"; kCancelled soon after
  // `stop` was set.
  absl::Status Connect(const std::atomic<bool>& stop);

  // Returns when all calls of the run were answered or failed. kInvalidArgument for a plan or
  // options without sense; failed calls are part of the result. `stop` set: the run ends early,
  // with the results so far. `progress` may be nullptr; it is called on the thread that called
  // Run. A caller of a closed loop that found no server pauses for a moment.
  absl::StatusOr<RunResult> Run(const RunPlan& plan, const std::atomic<bool>& stop,
                                const std::function<void(const Progress&)>& progress);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_DRIVER_H_
