// What a load test found out: plain data, between what drives calls and what shows them.
// Times are seconds from the start of a run's measured part unless said otherwise.
#ifndef ATTND_CLIENT_LOAD_RUN_RESULT_H_
#define ATTND_CLIENT_LOAD_RUN_RESULT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/load/latency_histogram.h"

namespace attnd::load {

enum class LoadModel {
  // A number of callers, each of which sends when its last call was answered.
  kClosed,
  // Calls at given times, whether earlier ones were answered or not: at equal distances,
  kConstant,
  // at random, independent of each other, or
  kPoisson,
  // at equal distances that change from those of one rate to those of another.
  kRamp,
};

// "closed", "constant", "poisson", "ramp".
std::string NameOf(LoadModel model);

// How hard a server is driven. Sweeps run several of these.
struct LoadPoint {
  LoadModel model = LoadModel::kClosed;
  // Closed: callers.
  int concurrency = 1;
  // Open: calls per second; of a ramp, at its start.
  double rate = 0;
  // Of a ramp, at its end.
  double end_rate = 0;
};

// "8 in flight", "500/s poisson", "100 to 900/s".
std::string Describe(const LoadPoint& point);

struct StatusCount {
  int64_t calls = 0;
  std::string first_message;
};

// A second of the run.
struct Interval {
  double begin = 0;
  // Calls that were answered in it, and those that failed.
  int64_t answered = 0;
  int64_t failed = 0;
  // Of the calls that were meant to be sent in it, as those of the run.
  LatencyHistogram response;
  LatencyHistogram service;
};

// Three windows in a row whose throughput and median latency differ by at most a tenth.
struct Stability {
  bool reached = false;
  // Largest difference among the last three windows over their mean; of throughput and of
  // the median response time. Negative with fewer than three.
  double throughput_spread = -1;
  double latency_spread = -1;
};

// How well the intended send times were kept (open loop).
struct ArrivalCheck {
  double rate_wanted = 0;
  double rate_sent = 0;
  // Of the times between actual sends: coefficient of variation; 0 is wanted of constant, 1
  // of poisson.
  double variation = 0;
  // Kolmogorov-Smirnov distance of these times from the intended distribution (poisson), and
  // what 95 of 100 perfect ones stay under; or the share of sends that were more than a
  // tenth of a gap late (constant, ramp), and 0.05.
  double distance = 0;
  double distance_limit = 0;
};

// What the client took.
struct ClientCost {
  double cpu_seconds = 0;
  // Share of the time that its busiest thread was running, 0..1.
  double busiest_thread = 0;
  // Share of this machine's CPU time that its host gave to others, 0..1; 0 if that is unknown.
  double stolen = 0;
};

// What the server's /metrics say of the run: differences from before to after.
struct ServerUse {
  double cpu_seconds = 0;
  // Calls that it ended, and of those refused for load.
  double handled = 0;
  double refused = 0;
  double resident_bytes = 0;
};

// What was looked at of the answers.
struct Verification {
  // Answers compared with the float64 oracle, and those out of tolerance.
  int64_t against_oracle = 0;
  int64_t oracle_failures = 0;
  // Answers whose bits were compared with those of the first answer to the same request.
  int64_t against_first = 0;
  int64_t identity_failures = 0;
  // First answers whose bits were compared with a local computation, as the server's
  // numerics_id is this program's.
  int64_t against_local = 0;
  int64_t local_failures = 0;
  // Largest error against the oracle, in tolerances.
  double worst_error = 0;
  // Of the first failure: which request, what came, what was expected.
  std::string first_failure;

  [[nodiscard]] int64_t failures() const { return oracle_failures + identity_failures + local_failures; }
};

// A kind of request in the mix.
struct WorkResult {
  std::string name;
  int64_t calls = 0;
  LatencyHistogram response;
};

// Calls that were due in the measured part of a run, at one point. Latencies are of answered
// calls (status OK); response times also of those that ended with DEADLINE_EXCEEDED, which
// took at least until then. Other failures, such as refusals, have none: as long as they are
// more than a percentile leaves over, that percentile is not known.
struct RunResult {
  LoadPoint point;
  // 0 for the first of several runs at the same point.
  int repetition = 0;
  double warm_up_seconds = 0;
  // Length of the measured part; until the last answer if the server did not keep up, or if
  // callers ran out of calls, so that answered / seconds is the throughput.
  double seconds = 0;
  // From intended send, from actual send, and between the two. In a closed loop a call is
  // intended to be sent when the one before was answered.
  LatencyHistogram response;
  LatencyHistogram service;
  LatencyHistogram send_delay;
  // As the server's answers say; and `rest`, what is left of the service time: network,
  // gRPC on both sides and the server's own handling.
  LatencyHistogram queue;
  LatencyHistogram gather;
  LatencyHistogram compute;
  LatencyHistogram rest;
  // All calls, by name of the code ("OK", "RESOURCE_EXHAUSTED", ...).
  std::map<std::string, StatusCount> statuses;
  int64_t calls = 0;
  int64_t answered = 0;
  // Calls that were due and not answered when the run was stopped, which are in no other
  // number, and the longest that one of them had waited.
  int64_t given_up = 0;
  double longest_given_up = 0;
  // Answered within the latency of the objective, if there is one.
  std::optional<int64_t> good;
  int64_t retries = 0;
  // Refusals that said when to come back.
  int64_t pushbacks = 0;
  // Of answered calls.
  double flops = 0;
  double request_bytes = 0;
  double response_bytes = 0;
  std::vector<Interval> intervals;
  std::vector<WorkResult> works;
  Stability stability;
  std::optional<ArrivalCheck> arrivals;
  ClientCost client;
  std::optional<ServerUse> server;
  Verification verification;
  // Whole sentences for the user, such as that the client was the bottleneck.
  std::vector<std::string> warnings;
  bool interrupted = false;
};

struct TargetInfo {
  std::string address;
  // Empty if the server does not say.
  std::string version;
  std::string isa;
  std::string numerics_id;
  int workers = 0;
};

// Result of the search for the highest rate that holds an objective.
struct Capacity {
  // "p99=20ms,errors=0.1%".
  std::string objective;
  // Calls per second that held it, and the lowest tried that did not (0: none failed).
  double rate = 0;
  double failed_rate = 0;
  int probes = 0;
  // False: the search ended early, and higher rates may hold it.
  bool finished = true;
};

// A condition of --fail-if and whether it came true in any run.
struct Condition {
  std::string text;
  bool failed = false;
  // "p99 was 23.4 ms at 500/s".
  std::string detail;
};

struct LoadReport {
  // "2026-11-22T07:12:44Z".
  std::string started;
  std::string command;
  std::string version;
  std::string machine;
  std::vector<TargetInfo> targets;
  // One line each: "bert-base: Attend 1x12x128x64 float32".
  std::vector<std::string> works;
  std::vector<RunResult> runs;
  std::optional<Capacity> capacity;
  std::vector<Condition> conditions;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RUN_RESULT_H_
