#include "client/load/report_notes.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

constexpr char kOk[] = "OK";

std::string Line(const std::string& text, int indent) { return Wrap(text, kReportWidth, indent) + "\n"; }

std::string DescribeTarget(const TargetInfo& target) {
  std::vector<std::string> facts;
  if (!target.version.empty()) facts.push_back("attnd " + target.version);
  if (!target.isa.empty()) facts.push_back(target.isa);
  if (target.workers > 0) facts.push_back(absl::StrCat(target.workers, target.workers == 1 ? " worker" : " workers"));
  return target.address + (facts.empty() ? "" : " (" + absl::StrJoin(facts, ", ") + ")");
}

std::map<std::string, StatusCount> StatusesOf(const PointRuns& point) {
  std::map<std::string, StatusCount> sum;
  for (const RunResult* run : point.runs) {
    for (const auto& [name, status] : run->statuses) {
      StatusCount& count = sum[name];
      count.calls += status.calls;
      if (count.first_message.empty()) count.first_message = status.first_message;
    }
  }
  return sum;
}

void AddVerification(const Verification& part, Verification* sum) {
  sum->against_oracle += part.against_oracle;
  sum->oracle_failures += part.oracle_failures;
  sum->against_first += part.against_first;
  sum->identity_failures += part.identity_failures;
  sum->against_local += part.against_local;
  sum->local_failures += part.local_failures;
  sum->worst_error = std::max(sum->worst_error, part.worst_error);
  if (sum->first_failure.empty()) sum->first_failure = part.first_failure;
}

std::string Plural(int64_t count, const char* one, const char* many) {
  return absl::StrCat(FormatCount(count), " ", count == 1 ? one : many);
}

// "49.5/s", "12346/s".
std::string FormatRate(double rate) {
  return rate < 1000 ? absl::StrFormat("%.4g/s", rate) : absl::StrFormat("%.0f/s", rate);
}

std::string DescribeArrivals(const std::string& point, const ArrivalCheck& arrivals, LoadModel model) {
  const std::string rates = absl::StrCat("  ", point, ": ", FormatRate(arrivals.rate_wanted), " wanted, ",
                                         FormatRate(arrivals.rate_sent), " sent");
  const bool kept = arrivals.distance <= arrivals.distance_limit;
  if (model == LoadModel::kPoisson) {
    return absl::StrFormat("%s; gaps %s: Kolmogorov-Smirnov distance %.3g of at most %.3g, variation %.3g", rates,
                           kept ? "as random as wanted" : "NOT as random as wanted", arrivals.distance,
                           arrivals.distance_limit, arrivals.variation);
  }
  return absl::StrCat(rates, "; ", FormatPercent(arrivals.distance), " of calls more than a tenth of a gap late, ",
                      kept ? "within " : "MORE than ", FormatPercent(arrivals.distance_limit));
}

// Where the schedule was kept worst; nullptr where there was none.
const ArrivalCheck* WorstArrivals(const PointRuns& point) {
  const ArrivalCheck* worst = nullptr;
  const auto excess = [](const ArrivalCheck& check) { return check.distance - check.distance_limit; };
  for (const RunResult* run : point.runs) {
    if (!run->arrivals.has_value()) continue;
    if (worst == nullptr || excess(*run->arrivals) > excess(*worst)) worst = &*run->arrivals;
  }
  return worst;
}

// A kind of warning: "The run was not stable" of "The run was not stable: over its last ...".
struct WarningKind {
  std::string kind;
  // The first of the kind, and where.
  std::string text;
  std::string point;
  int more = 0;
};

}  // namespace

std::vector<PointRuns> RunsByPoint(const LoadReport& report) {
  std::vector<PointRuns> points;
  for (const RunResult& run : report.runs) {
    const std::string name = Describe(run.point);
    auto found = std::find_if(points.begin(), points.end(), [&](const PointRuns& point) { return point.name == name; });
    if (found == points.end()) found = points.insert(found, PointRuns{name, {}});
    found->runs.push_back(&run);
  }
  return points;
}

std::string DescribeSetup(const LoadReport& report) {
  std::string text;
  for (const TargetInfo& target : report.targets) text += Line("to    " + DescribeTarget(target), 6);
  for (const std::string& work : report.works) text += Line("sent  " + work, 6);
  if (report.runs.empty()) return text + "There was no run.\n";
  const RunResult& run = report.runs.front();
  const bool interrupted =
      std::any_of(report.runs.begin(), report.runs.end(), [](const RunResult& one) { return one.interrupted; });
  return text + absl::StrFormat("for   %.4g s%s after %.4g s of warm-up\n", run.seconds,
                                interrupted ? " (interrupted)" : "", run.warm_up_seconds);
}

std::string DescribeStatuses(const std::vector<PointRuns>& points) {
  size_t width = 0;
  for (const PointRuns& point : points) width = std::max(width, point.name.size() + 2);
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> messages;
  for (const PointRuns& point : points) {
    const auto statuses = StatusesOf(point);
    if (statuses.empty() || (statuses.size() == 1 && statuses.contains(kOk))) continue;
    for (const auto& [name, status] : statuses) {
      const std::string padding(width - point.name.size(), ' ');
      rows.push_back({absl::StrCat("  ", point.name, padding, name), FormatCount(status.calls)});
      messages.push_back(status.first_message);
    }
  }
  if (rows.empty()) return "";
  std::string text = "Statuses, and the first message of each\n";
  const std::string columns = FormatColumns(rows);
  size_t begin = 0;
  for (const std::string& message : messages) {
    const size_t end = columns.find('\n', begin);
    const std::string line = columns.substr(begin, end - begin);
    text += Line(absl::StrCat(line, message.empty() ? "" : "  ", message), static_cast<int>(line.size()) + 2);
    begin = end + 1;
  }
  return text;
}

std::string DescribeArrivals(const std::vector<PointRuns>& points) {
  // Of many points those that matter.
  constexpr size_t kAll = 8;
  std::string text;
  for (const PointRuns& point : points) {
    const ArrivalCheck* arrivals = WorstArrivals(point);
    if (arrivals == nullptr) continue;
    if (points.size() > kAll && arrivals->distance <= arrivals->distance_limit) continue;
    text += Line(DescribeArrivals(point.name, *arrivals, point.runs.front()->point.model), 4);
  }
  if (text.empty()) return "";
  return (points.size() > kAll ? "Send times where they were not kept\n" : "Send times\n") + text;
}

std::string DescribeVerification(const LoadReport& report) {
  Verification sum;
  for (const RunResult& run : report.runs) AddVerification(run.verification, &sum);
  if (sum.against_oracle + sum.against_first + sum.against_local + sum.failures() == 0) {
    return "Answers were not verified.\n";
  }
  std::vector<std::string> parts;
  if (sum.against_oracle > 0) {
    parts.push_back(absl::StrCat(FormatCount(sum.against_oracle),
                                 absl::StrFormat(" compared with a float64 oracle (largest error %.2g of the "
                                                 "tolerance)",
                                                 sum.worst_error)));
  }
  if (sum.against_first > 0) {
    parts.push_back(absl::StrCat(FormatCount(sum.against_first), " with the bits of the first to the same request"));
  }
  if (sum.against_local > 0) {
    parts.push_back(absl::StrCat(FormatCount(sum.against_local), " with the bits of a local computation"));
  }
  const std::string looked_at = absl::StrJoin(parts, ", ");
  if (sum.failures() == 0) return Line("Answers verified: " + looked_at + "; all right.", 2);
  std::string text =
      Line(absl::StrCat("WRONG ANSWERS: ", Plural(sum.failures(), "check", "checks"), " failed (",
                        FormatCount(sum.oracle_failures), " out of tolerance, ", FormatCount(sum.identity_failures),
                        " not the bits of the first, ", FormatCount(sum.local_failures), " not those computed here)."),
           2);
  if (!sum.first_failure.empty()) text += Line("  The first: " + sum.first_failure, 4);
  return text + Line("  Looked at: " + looked_at + ".", 4);
}

std::string DescribeCapacity(const LoadReport& report) {
  if (!report.capacity.has_value()) return "";
  const Capacity& capacity = *report.capacity;
  const std::string probes = absl::StrCat(" (", Plural(capacity.probes, "probe", "probes"), ").");
  if (capacity.rate <= 0) {
    const std::string down_to = capacity.failed_rate > 0 ? " down to " + FormatRate(capacity.failed_rate) : "";
    return Line(absl::StrCat("Capacity: no rate", down_to, " held ", capacity.objective, probes), 2);
  }
  const std::string above = capacity.failed_rate > 0 ? FormatRate(capacity.failed_rate) + " did not" : "no rate failed";
  const bool interrupted = !report.runs.empty() && report.runs.back().interrupted;
  const char* early = interrupted ? "search interrupted: at least " : "search ended early: at least ";
  return Line(absl::StrCat("Capacity: ", capacity.finished ? "" : early, FormatRate(capacity.rate), " held ",
                           capacity.objective, ", ", above, probes),
              2);
}

std::string DescribeConditions(const LoadReport& report) {
  std::string text;
  for (const Condition& condition : report.conditions) {
    text += Line(
        absl::StrCat(condition.failed ? "FAILED  " : "passed  ", "--fail-if ", condition.text, ": ", condition.detail),
        8);
  }
  return text;
}

std::string DescribeWarnings(const LoadReport& report) {
  // Of a search's probes many are meant to be too much: what counts is the rate that was found.
  const bool searched = report.capacity.has_value() && report.capacity->rate > 0;
  std::vector<WarningKind> kinds;
  for (const RunResult& run : report.runs) {
    if (searched && run.point.rate != report.capacity->rate) continue;
    for (const std::string& warning : run.warnings) {
      const std::string kind = warning.substr(0, warning.find(':'));
      const auto found =
          std::find_if(kinds.begin(), kinds.end(), [&](const auto& other) { return other.kind == kind; });
      if (found == kinds.end()) {
        kinds.push_back({.kind = kind, .text = warning, .point = Describe(run.point)});
      } else {
        ++found->more;
      }
    }
  }
  std::string text;
  for (const WarningKind& kind : kinds) {
    const std::string more = kind.more > 0 ? absl::StrCat("; and so ", Plural(kind.more, "more run", "more runs")) : "";
    const std::string where = report.runs.size() > 1 ? absl::StrCat(" (", kind.point, more, ")") : "";
    text += Line("WARNING: " + kind.text + where, 2);
  }
  return text;
}

}  // namespace attnd::load
