#include "client/load/report_table.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/load/report_notes.h"
#include "client/load/statistics.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

using Row = std::vector<std::string>;
// Of a run; nothing if it has none.
using Value = std::function<std::optional<double>(const RunResult&)>;
using Format = std::function<std::string(double)>;

// Without a value: empty.
struct Column {
  std::string title;
  Value value;
  Format format;
};

constexpr char kNothing[] = "-";

std::optional<double> PerSecond(double amount, const RunResult& run) {
  return run.seconds > 0 ? std::optional(amount / run.seconds) : std::nullopt;
}

Value Percentile(LatencyHistogram RunResult::*times, double share) {
  return [times, share](const RunResult& run) -> std::optional<double> {
    const LatencyHistogram& histogram = run.*times;
    return histogram.count() == 0 ? std::nullopt : std::optional(histogram.Percentile(share));
  };
}

std::vector<Column> Percentiles(LatencyHistogram RunResult::*times) {
  return {{"p50", Percentile(times, 0.5), FormatSeconds},
          {"p90", Percentile(times, 0.9), FormatSeconds},
          {"p95", Percentile(times, 0.95), FormatSeconds},
          {"p99", Percentile(times, 0.99), FormatSeconds},
          {"p99.9", Percentile(times, .999), FormatSeconds},
          {"max", Percentile(times, 1), FormatSeconds},
          {"mean",
           [times](const RunResult& run) -> std::optional<double> {
             const LatencyHistogram& histogram = run.*times;
             return histogram.count() == 0 ? std::nullopt : std::optional(histogram.mean());
           },
           FormatSeconds}};
}

std::vector<double> ValuesOf(const Column& column, const PointRuns& point) {
  std::vector<double> values;
  for (const RunResult* run : point.runs) {
    const auto value = column.value(*run);
    if (value.has_value()) values.push_back(*value);
  }
  return values;
}

Row TitlesOf(const std::string& first, const std::vector<Column>& columns) {
  Row row = {first};
  for (const Column& column : columns) row.push_back(column.title);
  return row;
}

// The means over the runs at a point, and below them what they are sure to, if there are
// several.
void AddPoint(const std::string& name, const PointRuns& point, const std::vector<Column>& columns,
              std::vector<Row>* rows) {
  Row means = {name};
  Row widths = {absl::StrCat("  ± of ", point.runs.size(), " runs")};
  for (const Column& column : columns) {
    if (column.value == nullptr) {
      means.emplace_back();
      widths.emplace_back();
      continue;
    }
    const Estimate estimate = EstimateMean(ValuesOf(column, point));
    const bool any = !ValuesOf(column, point).empty();
    means.push_back(any ? column.format(estimate.mean) : kNothing);
    widths.push_back(estimate.half_width.has_value() ? column.format(*estimate.half_width) : kNothing);
  }
  rows->push_back(means);
  if (point.runs.size() > 1) rows->push_back(widths);
}

bool IsOpen(const PointRuns& point) { return point.runs.front()->point.model != LoadModel::kClosed; }

std::string LatencyTable(const std::vector<PointRuns>& points) {
  std::vector<Column> response = {
      {"calls/s", [](const RunResult& run) { return PerSecond(static_cast<double>(run.answered), run); },
       FormatNumber}};
  // Below "calls/s" nothing, so that percentiles are below percentiles.
  std::vector<Column> service = {{"", nullptr, nullptr}};
  const std::vector<Column> response_times = Percentiles(&RunResult::response);
  const std::vector<Column> service_times = Percentiles(&RunResult::service);
  response.insert(response.end(), response_times.begin(), response_times.end());
  service.insert(service.end(), service_times.begin(), service_times.end());
  response.push_back({"failed",
                      [](const RunResult& run) -> std::optional<double> {
                        if (run.calls == 0) return std::nullopt;
                        return static_cast<double>(run.calls - run.answered) / static_cast<double>(run.calls);
                      },
                      FormatPercent});
  std::vector<Row> rows = {TitlesOf("response time", response)};
  for (const PointRuns& point : points) AddPoint(point.name, point, response, &rows);
  // In a closed loop it is the same: calls are sent when they are due.
  if (std::none_of(points.begin(), points.end(), IsOpen)) return FormatColumns(rows);
  rows.emplace_back();
  rows.push_back(TitlesOf("service time", service));
  for (const PointRuns& point : points) {
    if (IsOpen(point)) AddPoint(point.name, point, service, &rows);
  }
  return FormatColumns(rows);
}

std::string ThroughputTable(const std::vector<PointRuns>& points) {
  const std::vector<Column> columns = {
      {"goodput/s",
       [](const RunResult& run) {
         return run.good.has_value() ? PerSecond(static_cast<double>(*run.good), run) : std::nullopt;
       },
       FormatNumber},
      {"GFLOP/s", [](const RunResult& run) { return PerSecond(run.flops * 1e-9, run); }, FormatNumber},
      {"sent/s", [](const RunResult& run) { return PerSecond(run.request_bytes, run); }, FormatBytes},
      {"received/s", [](const RunResult& run) { return PerSecond(run.response_bytes, run); }, FormatBytes},
      {"client CPU",
       [](const RunResult& run) -> std::optional<double> {
         if (run.calls == 0) return std::nullopt;
         return run.client.cpu_seconds / static_cast<double>(run.calls);
       },
       FormatSeconds},
      {"server CPU",
       [](const RunResult& run) -> std::optional<double> {
         if (!run.server.has_value() || run.server->handled <= 0) return std::nullopt;
         return run.server->cpu_seconds / run.server->handled;
       },
       FormatSeconds},
      {"refused",
       [](const RunResult& run) { return run.server.has_value() ? std::optional(run.server->refused) : std::nullopt; },
       FormatNumber},
  };
  std::vector<Row> rows = {TitlesOf("throughput", columns)};
  for (const PointRuns& point : points) AddPoint(point.name, point, columns, &rows);
  return FormatColumns(rows);
}

std::string PhaseTable(const std::vector<PointRuns>& points) {
  std::vector<Column> columns;
  const auto add = [&](const std::string& name, LatencyHistogram RunResult::*times) {
    columns.push_back({name, Percentile(times, 0.5), FormatSeconds});
    columns.push_back({"", Percentile(times, 0.99), FormatSeconds});
  };
  add("queue", &RunResult::queue);
  add("gather", &RunResult::gather);
  add("compute", &RunResult::compute);
  add("rest", &RunResult::rest);
  std::vector<Row> rows = {TitlesOf("phases, p50 p99", columns)};
  for (const PointRuns& point : points) {
    Row row = {point.name};
    for (const Column& column : columns) {
      const std::vector<double> values = ValuesOf(column, point);
      row.push_back(values.empty() ? kNothing : column.format(EstimateMean(values).mean));
    }
    rows.push_back(row);
  }
  return FormatColumns(rows);
}

// Of a mix: what each kind of request took.
std::string WorkTable(const std::vector<PointRuns>& points) {
  std::vector<Row> rows = {{"response time by request", "calls", "p50", "p90", "p99", "max"}};
  for (const PointRuns& point : points) {
    const std::vector<WorkResult>& works = point.runs.front()->works;
    for (size_t i = 0; works.size() > 1 && i < works.size(); ++i) {
      LatencyHistogram response;
      int64_t calls = 0;
      for (const RunResult* run : point.runs) {
        if (i >= run->works.size()) continue;
        response.Add(run->works[i].response);
        calls += run->works[i].calls;
      }
      rows.push_back({(points.size() > 1 ? point.name + ", " : "") + works[i].name, FormatCount(calls),
                      FormatSeconds(response.Percentile(0.5)), FormatSeconds(response.Percentile(0.9)),
                      FormatSeconds(response.Percentile(0.99)), FormatSeconds(response.max())});
    }
  }
  return rows.size() > 1 ? FormatColumns(rows) : "";
}

std::string DescribeCalls(const LoadReport& report) {
  int64_t calls = 0;
  int64_t retries = 0;
  int64_t pushbacks = 0;
  for (const RunResult& run : report.runs) {
    calls += run.calls;
    retries += run.retries;
    pushbacks += run.pushbacks;
  }
  std::string text = FormatCount(calls) + " calls were measured";
  if (retries > 0) absl::StrAppend(&text, ", ", FormatCount(retries), " retries");
  if (pushbacks > 0) absl::StrAppend(&text, ", ", FormatCount(pushbacks), " refusals that said when to come back");
  return Wrap(text +
                  ". Calls/s are answered calls, CPU is per call. Percentiles are of answered calls, those of the "
                  "response time also of calls that ran out of time; they are at most 0.1 % over the exact ones.",
              kReportWidth, 2) +
         "\n";
}

}  // namespace

std::string RenderTable(const LoadReport& report) {
  std::string text = DescribeSetup(report);
  if (report.runs.empty()) return text;
  const std::vector<PointRuns> points = RunsByPoint(report);
  const bool repeated = std::any_of(points.begin(), points.end(), [](const auto& p) { return p.runs.size() > 1; });
  for (const std::string& part :
       {LatencyTable(points), ThroughputTable(points), PhaseTable(points), WorkTable(points),
        repeated ? std::string("± is half of the 95 % confidence interval of the mean over runs, by Student's t.\n")
                 : "",
        DescribeStatuses(points), DescribeArrivals(points), DescribeCalls(report) + DescribeVerification(report),
        DescribeCapacity(report) + DescribeConditions(report) + DescribeWarnings(report)}) {
    if (!part.empty()) absl::StrAppend(&text, "\n", part);
  }
  return text;
}

}  // namespace attnd::load
