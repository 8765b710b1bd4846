#include "client/load/result_json.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "client/load/json_measures.h"
#include "client/load/statistics.h"

namespace attnd::load {
namespace {

using nlohmann::ordered_json;

constexpr char kPrecisionText[] =
    "Percentiles come from a histogram with buckets at most 1/1024 of their value wide: they are at most 0.1 % over "
    "the exact ones and never under. count, mean, min and max are exact.";

// Seconds; null if nothing was measured.
ordered_json LatencyToJson(const LatencyHistogram& times) {
  ordered_json json = {{"count", times.count()}};
  const auto put = [&](const char* key, double value) {
    json[key] = times.count() == 0 ? ordered_json() : ordered_json(value);
  };
  put("mean", times.mean());
  put("min", times.min());
  put("p50", times.Percentile(0.5));
  put("p90", times.Percentile(0.9));
  put("p95", times.Percentile(0.95));
  put("p99", times.Percentile(0.99));
  put("p99_9", times.Percentile(0.999));
  put("max", times.max());
  return json;
}

// Four points for every halving of what is left to 1, as far as there are values to tell
// them apart, and the maximum.
ordered_json CurveOf(const LatencyHistogram& times) {
  constexpr int kPointsPerHalving = 4;
  ordered_json curve = ordered_json::array();
  if (times.count() == 0) return curve;
  const auto add = [&](double share) { curve.push_back({{"share", share}, {"seconds", times.Percentile(share)}}); };
  const auto count = static_cast<double>(times.count());
  for (double left = 1; left * count >= 1; left /= 2) {
    for (int i = 0; i < kPointsPerHalving; ++i) add(1 - left * (1 - 0.5 * i / kPointsPerHalving));
  }
  add(1);
  return curve;
}

ordered_json WithCurve(const LatencyHistogram& times) {
  ordered_json json = LatencyToJson(times);
  json["curve"] = CurveOf(times);
  return json;
}

ordered_json PointToJson(const LoadPoint& point) {
  ordered_json json = {{"text", Describe(point)}, {"model", NameOf(point.model)}};
  if (point.model == LoadModel::kClosed) {
    json["concurrency"] = point.concurrency;
    return json;
  }
  json["rate_per_second"] = point.rate;
  if (point.model == LoadModel::kRamp) json["end_rate_per_second"] = point.end_rate;
  return json;
}

ordered_json StatusesToJson(const std::map<std::string, StatusCount>& statuses) {
  ordered_json json = ordered_json::object();
  for (const auto& [name, status] : statuses) {
    json[name] = {{"calls", status.calls}, {"first_message", status.first_message}};
  }
  return json;
}

ordered_json IntervalLatency(const LatencyHistogram& times) {
  ordered_json json = LatencyToJson(times);
  for (const char* key : {"count", "min", "p99_9"}) json.erase(key);
  return json;
}

ordered_json IntervalsToJson(const std::vector<Interval>& intervals) {
  ordered_json json = ordered_json::array();
  for (const Interval& interval : intervals) {
    json.push_back({{"begin_seconds", interval.begin},
                    {"answered", interval.answered},
                    {"failed", interval.failed},
                    {"response_seconds", IntervalLatency(interval.response)},
                    {"service_seconds", IntervalLatency(interval.service)}});
  }
  return json;
}

ordered_json WorksToJson(const std::vector<WorkResult>& works) {
  ordered_json json = ordered_json::array();
  for (const WorkResult& work : works) {
    json.push_back({{"name", work.name}, {"calls", work.calls}, {"response_seconds", LatencyToJson(work.response)}});
  }
  return json;
}

ordered_json ArrivalsToJson(const std::optional<ArrivalCheck>& arrivals) {
  if (!arrivals.has_value()) return nullptr;
  return {{"rate_wanted_per_second", arrivals->rate_wanted},
          {"rate_sent_per_second", arrivals->rate_sent},
          {"variation", arrivals->variation},
          {"distance", arrivals->distance},
          {"distance_limit", arrivals->distance_limit}};
}

ordered_json Ratio(double amount, double of) { return of > 0 ? ordered_json(amount / of) : ordered_json(); }

ordered_json ServerToJson(const std::optional<ServerUse>& server) {
  if (!server.has_value()) return nullptr;
  return {{"cpu_seconds", server->cpu_seconds},
          {"cpu_seconds_per_request", Ratio(server->cpu_seconds, server->handled)},
          {"handled", server->handled},
          {"refused", server->refused},
          {"resident_bytes", server->resident_bytes}};
}

ordered_json VerificationToJson(const Verification& verification) {
  return {{"failures", verification.failures()},
          {"against_oracle", verification.against_oracle},
          {"oracle_failures", verification.oracle_failures},
          {"against_first", verification.against_first},
          {"identity_failures", verification.identity_failures},
          {"against_local", verification.against_local},
          {"local_failures", verification.local_failures},
          // JSON has no infinity, which an answer of no numbers is off by.
          {"worst_error_tolerances", std::isfinite(verification.worst_error) ? verification.worst_error : 1e300},
          {"first_failure", verification.first_failure}};
}

ordered_json TargetsToJson(const std::vector<TargetInfo>& targets) {
  ordered_json json = ordered_json::array();
  for (const TargetInfo& target : targets) {
    json.push_back({{"address", target.address},
                    {"version", target.version},
                    {"isa", target.isa},
                    {"numerics_id", target.numerics_id},
                    {"workers", target.workers}});
  }
  return json;
}

// Per measure the mean over the runs at a point.
ordered_json PointSummary(const std::string& point, const std::vector<std::vector<Measure>>& runs) {
  ordered_json json = {{"point", point}, {"repetitions", runs.size()}};
  for (size_t i = 0; i < runs.front().size(); ++i) {
    std::vector<double> values;
    for (const auto& measures : runs) {
      if (measures[i].value.has_value()) values.push_back(*measures[i].value);
    }
    // A mean over some of the runs would pass for one over all.
    if (values.size() < runs.size()) continue;
    const Estimate estimate = EstimateMean(values);
    json[runs.front()[i].key] = {
        {"mean", estimate.mean},
        {"ci95", estimate.half_width.has_value() ? ordered_json(*estimate.half_width) : ordered_json()}};
  }
  return json;
}

// In the order in which points first come.
ordered_json SummaryToJson(const ordered_json& runs) {
  std::vector<std::pair<std::string, std::vector<std::vector<Measure>>>> points;
  for (const ordered_json& run : runs) {
    const auto& text = run["point"]["text"].get_ref<const std::string&>();
    auto found = std::find_if(points.begin(), points.end(), [&](const auto& point) { return point.first == text; });
    if (found == points.end()) found = points.insert(found, {text, {}});
    found->second.push_back(MeasuresOfJson(run));
  }
  ordered_json json = ordered_json::array();
  for (const auto& [text, measures] : points) json.push_back(PointSummary(text, measures));
  return json;
}

ordered_json CapacityToJson(const std::optional<Capacity>& capacity) {
  if (!capacity.has_value()) return nullptr;
  return {{"objective", capacity->objective},
          {"rate_per_second", capacity->rate},
          {"failed_rate_per_second", capacity->failed_rate > 0 ? ordered_json(capacity->failed_rate) : ordered_json()},
          {"probes", capacity->probes},
          {"finished", capacity->finished}};
}

ordered_json ConditionsToJson(const std::vector<Condition>& conditions) {
  ordered_json json = ordered_json::array();
  for (const Condition& condition : conditions) {
    json.push_back({{"text", condition.text}, {"failed", condition.failed}, {"detail", condition.detail}});
  }
  return json;
}

}  // namespace

ordered_json RunToJson(const RunResult& run) {
  const auto calls = static_cast<double>(run.calls);
  ordered_json json = {{"point", PointToJson(run.point)},
                       {"repetition", run.repetition},
                       {"warm_up_seconds", run.warm_up_seconds},
                       {"measured_seconds", run.seconds},
                       {"interrupted", run.interrupted},
                       {"calls", run.calls},
                       {"answered", run.answered},
                       {"failed", run.calls - run.answered},
                       {"given_up", run.given_up},
                       {"longest_given_up_seconds", run.longest_given_up},
                       {"retries", run.retries},
                       {"pushbacks", run.pushbacks},
                       {"error_share", Ratio(static_cast<double>(run.calls - run.answered), calls)},
                       {"throughput_per_second", Ratio(static_cast<double>(run.answered), run.seconds)}};
  json["good"] = run.good.has_value() ? ordered_json(*run.good) : ordered_json();
  json["goodput_per_second"] =
      run.good.has_value() ? Ratio(static_cast<double>(*run.good), run.seconds) : ordered_json();
  json["gflop_per_second"] = Ratio(run.flops * 1e-9, run.seconds);
  json["request_bytes_per_second"] = Ratio(run.request_bytes, run.seconds);
  json["response_bytes_per_second"] = Ratio(run.response_bytes, run.seconds);
  json["response_seconds"] = WithCurve(run.response);
  json["service_seconds"] = WithCurve(run.service);
  json["send_delay_seconds"] = LatencyToJson(run.send_delay);
  json["phases"] = {{"queue_seconds", LatencyToJson(run.queue)},
                    {"gather_seconds", LatencyToJson(run.gather)},
                    {"compute_seconds", LatencyToJson(run.compute)},
                    {"rest_seconds", LatencyToJson(run.rest)}};
  json["statuses"] = StatusesToJson(run.statuses);
  json["intervals"] = IntervalsToJson(run.intervals);
  json["works"] = WorksToJson(run.works);
  const Stability& stability = run.stability;
  const auto spread = [](double value) { return value < 0 ? ordered_json() : ordered_json(value); };
  json["stability"] = {{"reached", stability.reached},
                       {"throughput_spread", spread(stability.throughput_spread)},
                       {"latency_spread", spread(stability.latency_spread)}};
  json["arrivals"] = ArrivalsToJson(run.arrivals);
  json["client"] = {{"cpu_seconds", run.client.cpu_seconds},
                    {"cpu_seconds_per_call", Ratio(run.client.cpu_seconds, calls)},
                    {"busiest_thread_share", run.client.busiest_thread},
                    {"stolen_share", run.client.stolen}};
  json["server"] = ServerToJson(run.server);
  json["verification"] = VerificationToJson(run.verification);
  json["warnings"] = run.warnings;
  return json;
}

std::string ToJson(const LoadReport& report) {
  ordered_json runs = ordered_json::array();
  for (const RunResult& run : report.runs) runs.push_back(RunToJson(run));
  ordered_json json = {{"format", kJsonFormat},
                       {"format_version", kJsonVersion},
                       {"percentile_precision", {{"relative", 1.0 / 1024}, {"text", kPrecisionText}}},
                       {"started", report.started},
                       {"command", report.command},
                       {"version", report.version},
                       {"machine", report.machine},
                       {"works", report.works},
                       {"targets", TargetsToJson(report.targets)}};
  json["summary"] = SummaryToJson(runs);
  json["runs"] = std::move(runs);
  json["capacity"] = CapacityToJson(report.capacity);
  json["conditions"] = ConditionsToJson(report.conditions);
  return json.dump(1, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace) + "\n";
}

std::vector<Measure> MeasuresOf(const RunResult& run) { return MeasuresOfJson(RunToJson(run)); }

}  // namespace attnd::load
