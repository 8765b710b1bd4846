// What became of the calls of one thread, and of all threads once added up.
#ifndef ATTND_CLIENT_LOAD_RECORDER_H_
#define ATTND_CLIENT_LOAD_RECORDER_H_

#include <grpcpp/support/status.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "client/load/arrival_check.h"
#include "client/load/latency_histogram.h"
#include "client/load/run_result.h"
#include "client/load/stability.h"
#include "client/load/verifier.h"
#include "client/load/work.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// A call that has come to its end.
struct CallRecord {
  size_t work = 0;
  Time intended;
  // The first attempt, and the last one.
  Time first_sent;
  Time sent;
  Time done;
  grpc::Status status;
  int retries = 0;
  int pushbacks = 0;
  // False: it belongs to the warm-up.
  bool measured = false;
  size_t response_bytes = 0;
  // If it was answered.
  std::optional<ServerTimings> timings;
};

// Calls that ended lately, and how many ever did; those of the warm-up, too.
struct LiveCounts {
  int64_t answered = 0;
  int64_t failed = 0;
  LatencyHistogram response;
};

// Thread-compatible but for TakeLive.
class Recorder {
 public:
  // Times of the result count from `measured_begin`. Of sends it keeps up to `max_arrivals`.
  Recorder(const std::vector<Work>& works, Time measured_begin, std::optional<Duration> good_latency,
           size_t max_arrivals);

  void Record(const CallRecord& call);
  // A measured call that had not come to its end when the run was stopped.
  void RecordGivenUp(Duration waited);
  void Add(const Recorder& other);

  // Thread-safe. The histogram is of the calls since the last time.
  LiveCounts TakeLive();

  // When the last answer came, from the start of the measured part.
  [[nodiscard]] Duration last_answer() const { return last_answer_; }
  [[nodiscard]] int64_t calls() const { return sums_.calls; }
  [[nodiscard]] const std::vector<Arrival>& arrivals() const { return arrivals_; }
  [[nodiscard]] const StabilityBins& stability() const { return stability_; }
  // Everything that follows from single calls, for a measured part of `seconds`.
  [[nodiscard]] RunResult Result(double seconds) const;

 private:
  void RecordLive(const CallRecord& call);
  void RecordAnswer(const CallRecord& call);
  void RecordResponse(const CallRecord& call);
  void RecordTimings(const ServerTimings& timings, Duration service);
  Interval* IntervalAt(Time time);

  const std::vector<Work>& works_;
  const Time begin_;
  const std::optional<Duration> good_latency_;
  const size_t max_arrivals_;
  std::vector<double> request_bytes_;
  RunResult sums_;
  Duration last_answer_{};
  StabilityBins stability_;
  std::vector<Arrival> arrivals_;

  std::mutex live_mutex_;
  LiveCounts live_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RECORDER_H_
