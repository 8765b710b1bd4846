// A load test's results as JSON: what --json writes, pages show and `attnctl report` compares.
#ifndef ATTND_CLIENT_LOAD_RESULT_JSON_H_
#define ATTND_CLIENT_LOAD_RESULT_JSON_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/run_result.h"

namespace attnd::load {

// One object, indented. Keys stay what they are while "format_version" does; more may come.
// Whatever has a unit says it in its key; times are seconds, shares 0..1. What was not
// measured is null. Text that is not UTF-8 has its bad bytes replaced.
//
//   format                    "attnctl load report"
//   format_version            1
//   percentile_precision      relative: percentiles are over the exact ones by at most that
//                             part of them, and never under; text: the same as a sentence
//   started, command, version, machine, works
//   targets[]                 address, version, isa, numerics_id, workers
//   runs[]
//     point                   text, model, concurrency or rate_per_second (and
//                             end_rate_per_second)
//     repetition, warm_up_seconds, measured_seconds, interrupted
//     calls, answered, failed, retries, pushbacks, error_share
//     given_up, longest_given_up_seconds    due and not answered when the run was stopped; in
//                             no other number
//     throughput_per_second   answered calls
//     good, goodput_per_second
//     gflop_per_second, request_bytes_per_second, response_bytes_per_second
//     response_seconds        from intended send; of answered calls and of those that ran out
//                             of time (DEADLINE_EXCEEDED): count, mean, min, p50, p90, p95,
//                             p99, p99_9, max; curve[]: share, seconds
//     service_seconds         from actual send, of answered calls: the same
//     send_delay_seconds      the same without curve, as all below
//     phases                  queue_seconds, gather_seconds, compute_seconds, rest_seconds
//     statuses                by name: calls, first_message
//     intervals[]             begin_seconds, answered, failed; response_seconds and
//                             service_seconds: mean, p50, p90, p95, p99, max
//     works[]                 name, calls, response_seconds
//     stability               reached, throughput_spread, latency_spread
//     arrivals                rate_wanted_per_second, rate_sent_per_second, variation,
//                             distance, distance_limit
//     client                  cpu_seconds, cpu_seconds_per_call, busiest_thread_share,
//                             stolen_share
//     server                  cpu_seconds, cpu_seconds_per_request, handled, refused,
//                             resident_bytes
//     verification            failures, against_oracle, oracle_failures, against_first,
//                             identity_failures, against_local, local_failures,
//                             worst_error_tolerances, first_failure
//     warnings[]
//   summary[]                 by point: point (its text), repetitions; by measure (see
//                             MeasuresOf): mean, ci95 (half of the 95 % confidence interval)
//   capacity                  objective, rate_per_second, failed_rate_per_second, probes,
//                             finished
//   conditions[]              text, failed, detail
std::string ToJson(const LoadReport& report);

// A number that runs are summarised and compared by, by its key in the JSON.
struct Measure {
  // "throughput_per_second", "response_p99_seconds", ...
  std::string key;
  // Nothing to be had, such as percentiles of no calls.
  std::optional<double> value;
  // The same of each second of the run that was measured as a whole; empty if not known by
  // second.
  std::vector<double> by_interval;
};
std::vector<Measure> MeasuresOf(const RunResult& run);

// The part of a report that comparing needs.
struct ReadRun {
  std::string point;
  // 0 if it does not say.
  double seconds = 0;
  double calls = 0;
  std::vector<Measure> measures;
};
struct ReadReport {
  std::string started;
  std::string command;
  std::string version;
  std::string machine;
  std::vector<std::string> works;
  std::vector<TargetInfo> targets;
  std::vector<ReadRun> runs;
};

// kInvalidArgument "NAME is not a report of attnctl load: ..."; also for a later version of
// the format.
absl::StatusOr<ReadReport> ReadJson(const std::string& name, const std::string& text);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RESULT_JSON_H_
