#include "client/load/run_warnings.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

constexpr double kBusy = 0.8;
constexpr double kDelayShare = 0.1;
constexpr double kStolen = 0.02;
// Part of the rate that may be missing; beside that, what chance does to a Poisson process
// 99 times in 100.
constexpr double kMissing = 0.02;
constexpr double kChance = 2.6;

bool FarBelow(const ArrivalCheck& arrivals, const RunResult& run) {
  double allowed = kMissing;
  if (run.point.model == LoadModel::kPoisson) {
    allowed += kChance / std::sqrt(static_cast<double>(run.calls));
  }
  return arrivals.rate_sent < arrivals.rate_wanted * (1 - allowed);
}

std::string Percent(double share) { return absl::StrFormat("%.0f %%", 100 * share); }

std::string WhyUnstable(const Stability& stability) {
  if (stability.throughput_spread < 0) return "it was too short for three windows";
  if (stability.throughput_spread == 0 && stability.latency_spread == 0) return "no call was answered";
  return absl::StrFormat(
      "over its last three windows throughput differed by %s and median latency by %s, not at most 10 %%",
      Percent(stability.throughput_spread), Percent(stability.latency_spread));
}

}  // namespace

std::vector<std::string> WarningsOf(const RunResult& run, int64_t fell_behind) {
  std::vector<std::string> warnings;
  if (run.client.busiest_thread > kBusy) {
    warnings.push_back(absl::StrFormat(
        "The client was the bottleneck: its busiest thread ran %s of the time. Use more --threads, or more machines.",
        Percent(run.client.busiest_thread)));
  }
  if (run.client.stolen > kStolen) {
    warnings.push_back(absl::StrFormat(
        "This machine is a guest whose host took %s of its CPU time for others (steal): send times and latencies "
        "are longer for it.",
        Percent(run.client.stolen)));
  }
  const double delay = run.send_delay.Percentile(0.99);
  const double median = run.response.Percentile(0.5);
  if (run.point.model != LoadModel::kClosed && run.answered > 0 && delay > kDelayShare * median) {
    warnings.push_back(absl::StrFormat(
        "The client sent late: of 100 calls one by %.3g ms or more, while the median response time is %.3g ms.",
        delay * 1e3, median * 1e3));
  }
  if (run.arrivals.has_value() && run.calls > 1 && FarBelow(*run.arrivals, run)) {
    warnings.push_back(absl::StrFormat("Calls were sent at %.4g/s, not at the %.4g/s asked for.",
                                       run.arrivals->rate_sent, run.arrivals->rate_wanted));
  }
  if (fell_behind > 0) {
    warnings.push_back(absl::StrFormat(
        "The server fell behind: at the end %d more calls waited for an answer than at the beginning.", fell_behind));
  }
  if (run.given_up > 0 && (run.answered == 0 || run.longest_given_up > run.response.Percentile(0.99))) {
    warnings.push_back(
        absl::StrCat(run.given_up, run.given_up == 1 ? " call that was due was" : " calls that were due were",
                     " given up unanswered, after up to ", FormatSeconds(run.longest_given_up),
                     run.given_up == 1 ? ", when the run was stopped: it is" : ", when the run was stopped: they are",
                     " in no percentile."));
  }
  if (!run.stability.reached && !run.interrupted) {
    warnings.push_back("The run was not stable: " + WhyUnstable(run.stability) + ".");
  }
  return warnings;
}

}  // namespace attnd::load
