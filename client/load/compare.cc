#include "client/load/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/load/result_json.h"
#include "client/load/statistics.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

enum class Unit { kSeconds, kPerSecond, kShare };

// How a measure is shown, and what it is called when it changes.
struct Shown {
  const char* key;
  const char* name;
  Unit unit;
  bool more_is_better;
  const char* when_better;
  const char* when_worse;
};

constexpr std::array kShown = {
    Shown{"throughput_per_second", "throughput", Unit::kPerSecond, true, "faster", "slower"},
    Shown{"goodput_per_second", "goodput", Unit::kPerSecond, true, "faster", "slower"},
    Shown{"error_share", "errors", Unit::kShare, false, "better", "worse"},
    Shown{"response_mean_seconds", "mean", Unit::kSeconds, false, "faster", "slower"},
    Shown{"response_p50_seconds", "p50", Unit::kSeconds, false, "faster", "slower"},
    Shown{"response_p90_seconds", "p90", Unit::kSeconds, false, "faster", "slower"},
    Shown{"response_p95_seconds", "p95", Unit::kSeconds, false, "faster", "slower"},
    Shown{"response_p99_seconds", "p99", Unit::kSeconds, false, "faster", "slower"},
    Shown{"response_p99_9_seconds", "p99.9", Unit::kSeconds, false, "faster", "slower"},
    Shown{"service_p50_seconds", "service p50", Unit::kSeconds, false, "faster", "slower"},
    Shown{"service_p99_seconds", "service p99", Unit::kSeconds, false, "faster", "slower"},
    Shown{"server_cpu_seconds_per_request", "server CPU per call", Unit::kSeconds, false, "better", "worse"},
    Shown{"client_cpu_seconds_per_call", "client CPU per call", Unit::kSeconds, false, "better", "worse"},
};

// Two equal percentiles may differ by that, each being that far off.
constexpr double kHistogramError = 2.0 / 1024;

// A measure at one point in one of the reports.
struct Side {
  double value = 0;
  // Of the repetitions, and of the seconds of all runs.
  std::vector<double> by_run;
  std::vector<double> by_interval;
};

std::optional<Side> SideOf(const ReadReport& report, const std::string& point, const std::string& key) {
  Side side;
  for (const ReadRun& run : report.runs) {
    if (run.point != point) continue;
    for (const Measure& measure : run.measures) {
      if (measure.key != key || !measure.value.has_value()) continue;
      side.by_run.push_back(*measure.value);
      side.by_interval.insert(side.by_interval.end(), measure.by_interval.begin(), measure.by_interval.end());
    }
  }
  if (side.by_run.empty()) return std::nullopt;
  side.value = EstimateMean(side.by_run).mean;
  return side;
}

// Half of the 95 % interval of the difference, in the measure's unit.
std::optional<double> HalfWidth(const Side& before, const Side& after, Unit unit) {
  const bool repeated = before.by_run.size() > 1 && after.by_run.size() > 1;
  const Estimate estimate = repeated ? EstimateDifference(before.by_run, after.by_run, Sampling::kIndependent)
                                     : EstimateDifference(before.by_interval, after.by_interval, Sampling::kSeries);
  if (!estimate.half_width.has_value()) return std::nullopt;
  return std::max(*estimate.half_width, unit == Unit::kSeconds ? kHistogramError * before.value : 0);
}

std::string Format(Unit unit, double value) {
  if (unit == Unit::kSeconds) return FormatSeconds(value);
  return unit == Unit::kShare ? FormatPercent(value) : FormatNumber(value) + "/s";
}

std::string SignedPercent(double share) {
  if (std::fabs(share) < 9.9995) return absl::StrFormat("%+.1f", 100 * share);
  return absl::StrCat(share > 0 ? "+" : "", FormatNumber(100 * share));
}

std::string VerdictOf(const Shown& shown, double difference, std::optional<double> half) {
  if (!half.has_value()) return "not judged";
  if (std::fabs(difference) <= *half) return "no difference shown";
  return (difference > 0) == shown.more_is_better ? shown.when_better : shown.when_worse;
}

std::vector<std::string> RowOf(const Shown& shown, const Side& before, const Side& after) {
  const double difference = after.value - before.value;
  const auto half = HalfWidth(before, after, shown.unit);
  // Shares have no percentage of their own: of 0 it would be infinite, and points are what
  // one means.
  const bool points = shown.unit == Unit::kShare;
  const double base = points ? 1 : before.value;
  std::vector<std::string> row = {std::string("  ") + shown.name, Format(shown.unit, before.value),
                                  Format(shown.unit, after.value)};
  const char* unit = points ? " pt" : " %";
  if (base <= 0) {
    row.insert(row.end(), {"", ""});
  } else {
    row.push_back(SignedPercent(difference / base) + unit);
    row.push_back(half.has_value() ? absl::StrCat(SignedPercent(std::max(difference - *half, -before.value) / base),
                                                  " .. ", SignedPercent((difference + *half) / base), unit)
                                   : "");
  }
  row.push_back(VerdictOf(shown, difference, half));
  return row;
}

std::vector<std::string> PointsOf(const ReadReport& report) {
  std::vector<std::string> points;
  for (const ReadRun& run : report.runs) {
    if (std::find(points.begin(), points.end(), run.point) == points.end()) points.push_back(run.point);
  }
  return points;
}

size_t RunsAt(const ReadReport& report, const std::string& point) {
  return static_cast<size_t>(
      std::count_if(report.runs.begin(), report.runs.end(), [&](const ReadRun& run) { return run.point == point; }));
}

std::string Heading(const char* label, const std::string& name, const ReadReport& report) {
  return absl::StrCat(label, "  ", name, report.started.empty() ? "" : ", " + report.started,
                      report.version.empty() ? "" : ", attnctl " + report.version,
                      report.machine.empty() ? "" : ", " + report.machine);
}

// Points of `some` that are not in `others`.
std::string Without(const std::vector<std::string>& some, const std::vector<std::string>& others) {
  std::vector<std::string> left;
  for (const std::string& point : some) {
    if (std::find(others.begin(), others.end(), point) == others.end()) left.push_back(point);
  }
  return absl::StrJoin(left, ", ");
}

std::string OnlyIn(const std::string& name, const std::string& points) {
  return points.empty() ? "" : Wrap(absl::StrCat("Only in ", name, ": ", points), 100, 2) + "\n";
}

constexpr int kWidth = 100;

std::string Differ(const char* what, const std::string& before, const std::string& after) {
  if (before == after) return "";
  const auto shown = [](const std::string& text) { return text.empty() ? "unknown" : text; };
  return Wrap(absl::StrCat("NOTE: ", what, " differ: ", shown(before), " and ", shown(after), "."), kWidth, 6) + "\n";
}

std::string FactOf(const ReadReport& report, std::string TargetInfo::*fact) {
  std::vector<std::string> facts;
  for (const TargetInfo& target : report.targets) {
    if (std::find(facts.begin(), facts.end(), target.*fact) == facts.end()) facts.push_back(target.*fact);
  }
  return absl::StrJoin(facts, ", ");
}

// Of the runs at a point, on average.
double MeanAt(const ReadReport& report, const std::string& point, double ReadRun::*number) {
  double sum = 0;
  for (const ReadRun& run : report.runs) {
    if (run.point == point) sum += run.*number;
  }
  return sum / static_cast<double>(std::max<size_t>(RunsAt(report, point), 1));
}

// Empty if runs were as long, or had to make as many calls.
std::string DurationsDiffer(const ReadReport& before, const ReadReport& after, const std::string& point) {
  constexpr double kAlike = 1.1;
  if (MeanAt(before, point, &ReadRun::calls) == MeanAt(after, point, &ReadRun::calls)) return "";
  const double old_seconds = MeanAt(before, point, &ReadRun::seconds);
  const double new_seconds = MeanAt(after, point, &ReadRun::seconds);
  if (old_seconds <= kAlike * new_seconds && new_seconds <= kAlike * old_seconds) return "";
  return Differ(("durations at " + point).c_str(), FormatSeconds(old_seconds), FormatSeconds(new_seconds));
}

// What makes two reports more than an old and a new one of the same test.
std::string Differences(const ReadReport& before, const ReadReport& after, const std::vector<std::string>& points) {
  std::string text;
  const std::string old_works = Without(before.works, after.works);
  const std::string new_works = Without(after.works, before.works);
  if (!old_works.empty() || !new_works.empty()) {
    const auto shown = [](const std::string& works) { return works.empty() ? "nothing" : works; };
    absl::StrAppend(&text,
                    Wrap(absl::StrCat("NOTE: requests differ: only the old report has ", shown(old_works),
                                      "; only the new one has ", shown(new_works), "."),
                         kWidth, 6),
                    "\n");
  }
  absl::StrAppend(
      &text, Differ("server versions", FactOf(before, &TargetInfo::version), FactOf(after, &TargetInfo::version)),
      Differ("instruction sets", FactOf(before, &TargetInfo::isa), FactOf(after, &TargetInfo::isa)),
      Differ("numerics ids", FactOf(before, &TargetInfo::numerics_id), FactOf(after, &TargetInfo::numerics_id)));
  for (const std::string& point : points) {
    const std::string durations = DurationsDiffer(before, after, point);
    if (durations.empty()) continue;
    // Where one differs, others mostly do alike.
    text += durations;
    break;
  }
  return text;
}

constexpr char kNote[] =
    "Differences are of the new value to the old one, intervals hold the true difference with 95 % confidence: of "
    "20 of them one is expected to miss it. Times are response times, from intended send, unless called service.";
constexpr char kSingleNote[] =
    "Where a side has one run only, the interval comes from how much its seconds differ, and does not know how much "
    "one run differs from the next, as repetitions do. What is not known by second is then not judged.";

}  // namespace

absl::StatusOr<std::string> Compare(const NamedJson& before, const NamedJson& after) {
  const auto old_report = ReadJson(before.name, before.text);
  if (!old_report.ok()) return old_report.status();
  const auto new_report = ReadJson(after.name, after.text);
  if (!new_report.ok()) return new_report.status();

  const std::vector<std::string> old_points = PointsOf(*old_report);
  const std::vector<std::string> new_points = PointsOf(*new_report);
  std::vector<std::vector<std::string>> rows = {{"", "old", "new", "difference", "95 % interval", "verdict"}};
  std::vector<std::string> common;
  bool single = false;
  for (const std::string& point : old_points) {
    if (std::find(new_points.begin(), new_points.end(), point) == new_points.end()) continue;
    common.push_back(point);
    const size_t old_runs = RunsAt(*old_report, point);
    const size_t new_runs = RunsAt(*new_report, point);
    single = single || old_runs < 2 || new_runs < 2;
    const auto runs = [](size_t count) { return absl::StrCat(count, count == 1 ? " run" : " runs"); };
    rows.push_back({point, runs(old_runs), runs(new_runs)});
    for (const Shown& shown : kShown) {
      const auto old_side = SideOf(*old_report, point, shown.key);
      const auto new_side = SideOf(*new_report, point, shown.key);
      if (old_side.has_value() && new_side.has_value()) rows.push_back(RowOf(shown, *old_side, *new_side));
    }
  }
  if (rows.size() == 1) {
    return absl::InvalidArgumentError(absl::StrCat(before.name, " and ", after.name,
                                                   " have no point in common: ", absl::StrJoin(old_points, ", "),
                                                   " and ", absl::StrJoin(new_points, ", ")));
  }
  std::string text = absl::StrCat(Wrap(Heading("old", before.name, *old_report), 100, 5), "\n",
                                  Wrap(Heading("new", after.name, *new_report), 100, 5), "\n",
                                  Differences(*old_report, *new_report, common), "\n", FormatColumns(rows));
  absl::StrAppend(&text, "\n", OnlyIn(before.name, Without(old_points, new_points)),
                  OnlyIn(after.name, Without(new_points, old_points)), Wrap(kNote, 100, 0), "\n");
  if (single) absl::StrAppend(&text, Wrap(kSingleNote, 100, 0), "\n");
  return text;
}

}  // namespace attnd::load
