#include "client/load/capacity.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace attnd::load {
namespace {

// A probe holds with room to spare if its percentile takes at most that part of the limit.
constexpr double kRoom = 0.5;
// Rates are decided when one side leads by two; an undecided one by majority.
constexpr int kLead = 2;
constexpr int kMaxVotes = 5;
// Where another look overturned bounds so often, with others close by, noise decides: the
// search ends there.
constexpr int kMaxOverturned = 2;
// Close by are bounds within so many times the precision.
constexpr double kClose = 4;

// For and against a rate.
struct Votes {
  int held = 0;
  int failed = 0;
  // That were answered while it held.
  int64_t calls = 0;
};

// So many calls without a slow one, and with 95 % confidence the share of slow ones is what
// the objective allows: the rule of three.
double CallsNeeded(const Objective& objective) { return 3 / (1 - objective.percentile); }

// Three significant digits: rates are read by people, and no server's capacity is known better.
double Rounded(double rate) {
  const double unit = std::pow(10, std::floor(std::log10(rate)) - 2);
  return std::round(rate / unit) * unit;
}

class Search {
 public:
  Search(const CapacityOptions& options, const Probe& probe, const std::atomic<bool>& stop)
      : options_(options), probe_(probe), stop_(stop) {}

  absl::StatusOr<CapacityResult> Run() {
    double rate = std::clamp(options_.start_rate, options_.min_rate, options_.max_rate);
    // Every turn settles one rate: a bound is moved to it, or both are found to stand.
    while (!result_.finished && !Exhausted()) {
      const auto holds = Settle(rate);
      if (!holds.ok()) return holds.status();
      if (!holds->has_value()) break;
      rate = **holds ? AfterHolding(rate) : AfterFailing(rate);
    }
    result_.capacity.objective = options_.objective.text;
    result_.capacity.rate = held_.empty() ? 0 : held_.back();
    result_.capacity.failed_rate = failed_.empty() ? 0 : failed_.back();
    result_.capacity.probes = static_cast<int>(result_.probes.size());
    return std::move(result_);
  }

 private:
  // The bound that is looked at once more before the search ends.
  enum class Check { kNone, kHeld, kFailed };

  [[nodiscard]] bool Exhausted() const {
    return stop_.load() || static_cast<int>(result_.probes.size()) >= options_.max_probes;
  }

  // Probes `rate` until it is clear whether it holds; nothing if the search is to end before.
  absl::StatusOr<std::optional<bool>> Settle(double rate) {
    Votes votes;
    while (!Settled(votes)) {
      if (Exhausted()) return std::optional<bool>();
      absl::StatusOr<RunResult> run = probe_(rate);
      if (!run.ok()) return run.status();
      run->repetition = probes_at_[rate]++;
      const bool interrupted = run->interrupted || stop_.load();
      Count(*run, &votes);
      result_.probes.push_back(*std::move(run));
      if (interrupted) return std::optional<bool>();
    }
    return std::optional<bool>(votes.held > votes.failed);
  }

  [[nodiscard]] bool Settled(const Votes& votes) const {
    if (votes.held + votes.failed >= kMaxVotes) return true;
    if (votes.failed - votes.held >= kLead) return true;
    return votes.held - votes.failed >= kLead && static_cast<double>(votes.calls) >= CallsNeeded(options_.objective);
  }

  void Count(const RunResult& run, Votes* votes) const {
    const Objective& objective = options_.objective;
    if (!Holds(objective, run)) {
      ++votes->failed;
      return;
    }
    // Room to spare is not had by luck, but after a failure it takes more.
    const bool room = run.response.Percentile(objective.percentile) <= kRoom * Seconds(objective.latency);
    votes->held += room && votes->failed == 0 ? kLead : 1;
    votes->calls += run.answered;
  }

  // Moves a bound to `rate`, and returns the rate to look at next.
  double AfterHolding(double rate) {
    if (check_ == Check::kHeld) return CheckFailed();
    // What failed there before did by bad luck.
    if (check_ == Check::kFailed) Overturn(&failed_);
    check_ = Check::kNone;
    held_.push_back(rate);
    return Next();
  }

  double AfterFailing(double rate) {
    if (check_ == Check::kFailed) {
      result_.finished = true;
      return rate;
    }
    // What held there before did by good luck.
    if (check_ == Check::kHeld) Overturn(&held_);
    check_ = Check::kNone;
    failed_.push_back(rate);
    return Next();
  }

  void Overturn(std::vector<double>* bounds) {
    bounds->pop_back();
    const bool close =
        !held_.empty() && !failed_.empty() && failed_.back() <= held_.back() * (1 + kClose * options_.precision);
    if (close) ++overturned_;
  }

  double Next() {
    if (failed_.empty()) {
      if (held_.back() >= options_.max_rate) return CheckHeld();
      return std::min(2 * held_.back(), options_.max_rate);
    }
    if (held_.empty()) {
      result_.finished = failed_.back() <= options_.min_rate;
      return std::max(Rounded(failed_.back() / 2), options_.min_rate);
    }
    if (failed_.back() <= held_.back() * (1 + options_.precision)) {
      result_.finished = overturned_ >= kMaxOverturned;
      return CheckHeld();
    }
    return Rounded(std::sqrt(held_.back() * failed_.back()));
  }

  double CheckHeld() {
    check_ = Check::kHeld;
    return held_.back();
  }

  double CheckFailed() {
    result_.finished = failed_.empty();
    if (result_.finished) return held_.back();
    check_ = Check::kFailed;
    return failed_.back();
  }

  const CapacityOptions& options_;
  const Probe& probe_;
  const std::atomic<bool>& stop_;
  CapacityResult result_;
  std::map<double, int> probes_at_;
  // Rates that held, ascending, and that failed, descending; every one of the first is below
  // every one of the second.
  std::vector<double> held_;
  std::vector<double> failed_;
  Check check_ = Check::kNone;
  int overturned_ = 0;
};

}  // namespace

absl::StatusOr<CapacityResult> FindCapacity(const CapacityOptions& options, const Probe& probe,
                                            const std::atomic<bool>& stop) {
  return Search(options, probe, stop).Run();
}

}  // namespace attnd::load
