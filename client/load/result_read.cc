#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/load/json_measures.h"
#include "client/load/result_json.h"

namespace attnd::load {
namespace {

using nlohmann::ordered_json;
using Path = ordered_json::json_pointer;

// Where a measure is in a run and, where it is known by second, in an interval.
struct Place {
  const char* key;
  const char* in_run;
  const char* in_interval;
};

constexpr char kAnswered[] = "/answered";
constexpr char kFailed[] = "/failed";

constexpr std::array kPlaces = {
    Place{"throughput_per_second", "/throughput_per_second", kAnswered},
    Place{"goodput_per_second", "/goodput_per_second", nullptr},
    Place{"gflop_per_second", "/gflop_per_second", nullptr},
    Place{"error_share", "/error_share", kFailed},
    Place{"response_mean_seconds", "/response_seconds/mean", "/response_seconds/mean"},
    Place{"response_p50_seconds", "/response_seconds/p50", "/response_seconds/p50"},
    Place{"response_p90_seconds", "/response_seconds/p90", "/response_seconds/p90"},
    Place{"response_p95_seconds", "/response_seconds/p95", "/response_seconds/p95"},
    Place{"response_p99_seconds", "/response_seconds/p99", "/response_seconds/p99"},
    Place{"response_p99_9_seconds", "/response_seconds/p99_9", nullptr},
    Place{"response_max_seconds", "/response_seconds/max", nullptr},
    Place{"service_p50_seconds", "/service_seconds/p50", "/service_seconds/p50"},
    Place{"service_p99_seconds", "/service_seconds/p99", "/service_seconds/p99"},
    Place{"compute_p50_seconds", "/phases/compute_seconds/p50", nullptr},
    Place{"server_cpu_seconds_per_request", "/server/cpu_seconds_per_request", nullptr},
    Place{"client_cpu_seconds_per_call", "/client/cpu_seconds_per_call", nullptr},
};

const ordered_json* Find(const ordered_json& json, const char* path) {
  const Path pointer(path);
  return json.contains(pointer) ? &json.at(pointer) : nullptr;
}

std::optional<double> NumberAt(const ordered_json& json, const char* path) {
  const ordered_json* found = Find(json, path);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string TextAt(const ordered_json& json, const char* path) {
  const ordered_json* found = Find(json, path);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

std::optional<double> IntervalValue(const ordered_json& interval, const char* path) {
  // Intervals are a second long, so that a count is a rate.
  if (std::string_view(path) != kFailed) return NumberAt(interval, path);
  const auto answered = NumberAt(interval, kAnswered);
  const auto failed = NumberAt(interval, kFailed);
  if (!answered.has_value() || !failed.has_value() || *answered + *failed <= 0) return std::nullopt;
  return *failed / (*answered + *failed);
}

std::vector<double> ByInterval(const ordered_json& run, const char* path) {
  std::vector<double> values;
  const ordered_json* intervals = Find(run, "/intervals");
  if (path == nullptr || intervals == nullptr || !intervals->is_array()) return values;
  const double end = NumberAt(run, "/measured_seconds").value_or(0);
  for (const ordered_json& interval : *intervals) {
    // The last one may have been cut short.
    const double begin = NumberAt(interval, "/begin_seconds").value_or(end);
    if (begin + 0.999 > end) continue;
    const auto value = IntervalValue(interval, path);
    if (value.has_value()) values.push_back(*value);
  }
  return values;
}

absl::Status NoReport(const std::string& name, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is not a report of attnctl load: ", problem));
}

absl::Status CheckFormat(const std::string& name, const ordered_json& json) {
  if (json.is_discarded()) return NoReport(name, "it is not JSON");
  if (!json.is_object() || TextAt(json, "/format") != kJsonFormat) {
    return NoReport(name, absl::StrCat(R"(it lacks "format": ")", kJsonFormat, "\""));
  }
  const auto version = NumberAt(json, "/format_version");
  if (!version.has_value()) return NoReport(name, "its format_version is no number");
  if (*version != kJsonVersion) {
    return NoReport(name, absl::StrCat("its format_version is ", *version, ", this program reads ", kJsonVersion));
  }
  const ordered_json* runs = Find(json, "/runs");
  if (runs == nullptr || !runs->is_array()) return NoReport(name, "it has no list of runs");
  for (const ordered_json& run : *runs) {
    if (TextAt(run, "/point/text").empty()) return NoReport(name, "a run does not say at which point it was");
  }
  return absl::OkStatus();
}

// Times, rates and shares alike.
absl::Status CheckMeasures(const std::string& name, const ReadRun& run) {
  for (const Measure& measure : run.measures) {
    std::vector<double> values = measure.by_interval;
    values.push_back(measure.value.value_or(0));
    const double least = *std::min_element(values.begin(), values.end());
    if (least >= 0) continue;
    return NoReport(name, absl::StrCat(measure.key, " at ", run.point, " is ", least, ", less than 0"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<Measure> MeasuresOfJson(const ordered_json& run) {
  std::vector<Measure> measures;
  measures.reserve(kPlaces.size());
  for (const Place& place : kPlaces) {
    measures.push_back({place.key, NumberAt(run, place.in_run), ByInterval(run, place.in_interval)});
  }
  return measures;
}

absl::StatusOr<ReadReport> ReadJson(const std::string& name, const std::string& text) {
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  absl::Status checked = CheckFormat(name, json);
  if (!checked.ok()) return checked;
  ReadReport report{.started = TextAt(json, "/started"),
                    .command = TextAt(json, "/command"),
                    .version = TextAt(json, "/version"),
                    .machine = TextAt(json, "/machine"),
                    .works = {},
                    .targets = {},
                    .runs = {}};
  if (const ordered_json* works = Find(json, "/works"); works != nullptr && works->is_array()) {
    for (const ordered_json& work : *works) report.works.push_back(TextAt(work, ""));
  }
  if (const ordered_json* targets = Find(json, "/targets"); targets != nullptr && targets->is_array()) {
    for (const ordered_json& target : *targets) {
      report.targets.push_back({.address = TextAt(target, "/address"),
                                .version = TextAt(target, "/version"),
                                .isa = TextAt(target, "/isa"),
                                .numerics_id = TextAt(target, "/numerics_id")});
    }
  }
  for (const ordered_json& run : json["runs"]) {
    ReadRun read = {.point = TextAt(run, "/point/text"),
                    .seconds = NumberAt(run, "/measured_seconds").value_or(0),
                    .calls = NumberAt(run, "/calls").value_or(0),
                    .measures = MeasuresOfJson(run)};
    if (absl::Status status = CheckMeasures(name, read); !status.ok()) return status;
    report.runs.push_back(std::move(read));
  }
  return report;
}

}  // namespace attnd::load
