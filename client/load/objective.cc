#include "client/load/objective.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

constexpr char kTimesAllowed[] = "a time such as 250us, 20ms or 1.5s";
constexpr char kMeasuresAllowed[] =
    "p50, p90, p95, p99, p99.9, max or mean (service.p50 ... of the service time), errors, throughput or goodput";

enum class Kind { kTime, kShare, kRate };

struct MeasureFacts {
  const char* name;
  Kind kind;
  // Of a time: which percentile; negative: the mean.
  double share;
};

constexpr double kMean = -1;
constexpr std::array kMeasures = {
    MeasureFacts{"p50", Kind::kTime, 0.5},      MeasureFacts{"p90", Kind::kTime, 0.9},
    MeasureFacts{"p95", Kind::kTime, 0.95},     MeasureFacts{"p99", Kind::kTime, 0.99},
    MeasureFacts{"p99.9", Kind::kTime, .999},   MeasureFacts{"max", Kind::kTime, 1},
    MeasureFacts{"mean", Kind::kTime, kMean},   MeasureFacts{"errors", Kind::kShare, 0},
    MeasureFacts{"throughput", Kind::kRate, 0}, MeasureFacts{"goodput", Kind::kRate, 0},
};

constexpr char kService[] = "service.";

const MeasureFacts* FactsOf(const std::string& measure) {
  const bool service = absl::StartsWith(measure, kService);
  const std::string name(absl::StripPrefix(measure, kService));
  for (const MeasureFacts& facts : kMeasures) {
    if (name == facts.name) return service && facts.kind != Kind::kTime ? nullptr : &facts;
  }
  return nullptr;
}

std::optional<double> ToNumber(const std::string& text) {
  double number = 0;
  // SimpleAtod takes "nan", "inf" and spaces around a number.
  const bool plain = text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  if (!plain || !absl::SimpleAtod(text, &number) || !std::isfinite(number) || number < 0) return std::nullopt;
  return number;
}

// `number` if `text` ends in `unit`, which is not of the number.
std::optional<double> InUnit(const std::string& text, const char* unit) {
  if (!absl::EndsWith(text, unit)) return std::nullopt;
  return ToNumber(std::string(absl::StripSuffix(text, unit)));
}

std::optional<double> ToSeconds(const std::string& text) {
  // The longer names first: "s" ends all of them.
  constexpr std::array<std::pair<const char*, double>, 4> kUnits = {
      {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}};
  for (const auto& [unit, seconds] : kUnits) {
    if (const auto number = InUnit(text, unit); number.has_value()) return *number * seconds;
  }
  return std::nullopt;
}

// "0.1%" or "0.001".
std::optional<double> ToShare(const std::string& text) {
  const auto percent = InUnit(text, "%");
  const auto share = percent.has_value() ? *percent / 100 : ToNumber(text);
  return share.has_value() && *share <= 1 ? share : std::nullopt;
}

absl::Status Unfit(const std::string& text, const std::string& part, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "': '", part, "' is not ", allowed));
}

// "p99.9" as 0.999.
std::optional<double> ToPercentile(const std::string& name) {
  if (!absl::StartsWith(name, "p")) return std::nullopt;
  const auto percent = ToNumber(name.substr(1));
  if (!percent.has_value() || *percent <= 0 || *percent >= 100) return std::nullopt;
  return *percent / 100;
}

absl::Status ReadErrors(const std::string& text, const std::string& value, Objective* objective) {
  const auto share = ToShare(value);
  if (!share.has_value()) return Unfit(text, value, "a share of calls such as 0.1% or 0.001");
  objective->errors = *share;
  return absl::OkStatus();
}

absl::Status ReadLatency(const std::string& text, const std::string& name, const std::string& value,
                         Objective* objective) {
  const auto percentile = ToPercentile(name);
  if (!percentile.has_value()) return Unfit(text, name, "a percentile such as p99 or p99.9, or errors");
  const auto seconds = ToSeconds(value);
  if (!seconds.has_value() || *seconds <= 0 || *seconds > 3600) return Unfit(text, value, kTimesAllowed);
  objective->percentile = *percentile;
  objective->latency = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(*seconds));
  return absl::OkStatus();
}

double FailedShare(const RunResult& run) {
  return run.calls == 0 ? 1 : static_cast<double>(run.calls - run.answered) / static_cast<double>(run.calls);
}

// Of calls that have no place in `times`. The longest of the others says nothing of them.
double UnknownShare(const LatencyHistogram& times, const RunResult& run) {
  return run.calls == 0 ? 1 : 1 - static_cast<double>(times.count()) / static_cast<double>(run.calls);
}

bool LeavesOver(double percentile, double unknown) {
  // 1 - 0.9 is a little less than 0.1.
  constexpr double kRounding = 1e-9;
  return unknown <= 1 - percentile + kRounding;
}

const LatencyHistogram& TimesOf(const std::string& measure, const RunResult& run) {
  return absl::StartsWith(measure, kService) ? run.service : run.response;
}

// Of a run; nothing if there is nothing to measure.
std::optional<double> ValueOf(const std::string& measure, const MeasureFacts& facts, const RunResult& run) {
  if (facts.kind == Kind::kShare) return run.calls == 0 ? std::nullopt : std::optional(FailedShare(run));
  if (facts.kind == Kind::kRate) {
    const std::optional<int64_t> calls = measure == "goodput" ? run.good : run.answered;
    if (!calls.has_value() || run.seconds <= 0) return std::nullopt;
    return static_cast<double>(*calls) / run.seconds;
  }
  const LatencyHistogram& times = TimesOf(measure, run);
  if (times.count() == 0) return std::nullopt;
  if (!LeavesOver(facts.share == kMean ? 1 : facts.share, UnknownShare(times, run))) return std::nullopt;
  return facts.share == kMean ? times.mean() : times.Percentile(facts.share);
}

// Why there is none.
std::string WhyWithoutValue(const std::string& measure, const MeasureFacts& facts, const RunResult& run) {
  const std::string where = absl::StrCat(" at ", Describe(run.point), ": ");
  if (measure == "goodput" && !run.good.has_value()) {
    return absl::StrCat(measure, " has no value", where, "there was no objective");
  }
  if (facts.kind != Kind::kTime || run.answered == 0) {
    return absl::StrCat(measure, " has no value", where, "no call was answered");
  }
  return absl::StrCat(measure, " is not known", where, FormatPercent(UnknownShare(TimesOf(measure, run), run)),
                      " of calls failed");
}

std::string Format(Kind kind, double value) {
  if (kind == Kind::kTime) return FormatSeconds(value);
  return kind == Kind::kShare ? FormatPercent(value) : FormatNumber(value) + "/s";
}

}  // namespace

absl::StatusOr<Objective> ParseObjective(const std::string& text) {
  Objective objective{.errors = 0.001, .text = text};
  bool has_latency = false;
  bool has_errors = false;
  for (const auto piece : absl::StrSplit(text, ',')) {
    const std::string part(absl::StripAsciiWhitespace(piece));
    const std::vector<std::string> sides = absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (sides.size() != 2) return Unfit(text, part, "p99=TIME or errors=SHARE");
    bool& seen = sides[0] == "errors" ? has_errors : has_latency;
    if (seen) return Unfit(text, part, "needed: an objective has one percentile and one share of errors");
    seen = true;
    absl::Status read = sides[0] == "errors" ? ReadErrors(text, sides[1], &objective)
                                             : ReadLatency(text, sides[0], sides[1], &objective);
    if (!read.ok()) return read;
  }
  if (!has_latency) return Unfit(text, text, "an objective without a latency: write p99=20ms[,errors=0.1%]");
  return objective;
}

bool Holds(const Objective& objective, const RunResult& run) {
  if (run.answered == 0 || FailedShare(run) > objective.errors) return false;
  if (!LeavesOver(objective.percentile, UnknownShare(run.response, run))) return false;
  return run.response.Percentile(objective.percentile) <= Seconds(objective.latency);
}

absl::StatusOr<FailIf> ParseFailIf(const std::string& text) {
  const size_t at = text.find_first_of("<>");
  if (at == std::string::npos) return Unfit(text, text, "MEASURE>VALUE or MEASURE<VALUE, such as p99>20ms");
  FailIf condition{
      .measure = std::string(absl::StripAsciiWhitespace(text.substr(0, at))), .above = text[at] == '>', .text = text};
  const std::string value(absl::StripAsciiWhitespace(text.substr(at + 1)));
  const MeasureFacts* facts = FactsOf(condition.measure);
  if (facts == nullptr) return Unfit(text, condition.measure, kMeasuresAllowed);
  std::optional<double> number;
  std::string allowed;
  switch (facts->kind) {
    case Kind::kTime:
      number = ToSeconds(value);
      allowed = kTimesAllowed;
      break;
    case Kind::kShare:
      number = ToShare(value);
      allowed = "a share of calls such as 0.1% or 0.001";
      break;
    case Kind::kRate:
      number = ToNumber(value);
      allowed = "a number of calls per second";
      break;
  }
  if (!number.has_value()) return Unfit(text, value, allowed);
  condition.value = *number;
  return condition;
}

Condition Judge(const FailIf& condition, const LoadReport& report) {
  Condition result{.text = condition.text, .detail = ""};
  const MeasureFacts* facts = FactsOf(condition.measure);
  if (facts == nullptr || report.runs.empty()) {
    result.failed = true;
    result.detail = facts == nullptr ? condition.measure + " is not measured" : "there was no run";
    return result;
  }
  std::optional<double> worst;
  for (const RunResult& run : report.runs) {
    const auto value = ValueOf(condition.measure, *facts, run);
    if (!value.has_value()) {
      result.failed = true;
      result.detail = WhyWithoutValue(condition.measure, *facts, run);
      return result;
    }
    if (worst.has_value() && (condition.above ? *value <= *worst : *value >= *worst)) continue;
    worst = value;
    result.detail = absl::StrCat(condition.measure, " was ", Format(facts->kind, *value), " at ", Describe(run.point));
  }
  result.failed = condition.above ? *worst > condition.value : *worst < condition.value;
  return result;
}

}  // namespace attnd::load
