#include "client/attnctl/load_options.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/address.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/option_values.h"
#include "client/load/mix.h"
#include "client/load/presets.h"

namespace attnd::attnctl {
namespace {

using load::LoadModel;
using load::LoadPoint;
using std::chrono::milliseconds;

constexpr int kMostCallers = 100'000;
constexpr double kFastest = 1e7;
constexpr int kMostPoints = 1000;
// Callers that share a connection.
constexpr int kCallersPerChannel = 32;
constexpr int kMostDefaultChannels = 16;

absl::Status WithFlag(const std::string& flag, const absl::Status& status) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat(flag, ": ", std::string(status.message()))};
}

absl::Status DoesNotGoWith(const std::string& flag, const std::string& other) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": does not go with ", other));
}

// Leaves *number alone if there is no text.
template <typename T>
absl::Status ReadWhole(const std::string& flag, const std::string& text, int64_t smallest, int64_t largest, T* number) {
  if (text.empty()) return absl::OkStatus();
  const auto value = ToInteger(text);
  if (!value.has_value() || *value < smallest || *value > largest) {
    return WithFlag(flag, Unfit(text, absl::StrCat("an integer from ", smallest, " to ", largest)));
  }
  *number = static_cast<T>(*value);
  return absl::OkStatus();
}

// Leaves *time alone if there is no text.
absl::Status ReadDuration(const std::string& flag, const std::string& text, bool may_be_zero, Duration* time) {
  if (text.empty()) return absl::OkStatus();
  milliseconds read{};
  if (auto status = ReadTime(text, &read); !status.ok()) return WithFlag(flag, status);
  if (read.count() == 0 && !may_be_zero) return WithFlag(flag, Unfit(text, "a time > 0"));
  *time = read;
  return absl::OkStatus();
}

bool ToPositive(const std::string& text, double largest, double* number) {
  return absl::SimpleAtod(text, number) && *number > 0 && *number <= largest;
}

// "5", "1:8", "100:500:100", and several of these with commas between them.
struct ListRules {
  std::string flag;
  std::string allowed;
  double largest = 0;
  // Of A:B; 0: it must be given.
  double default_step = 0;
  bool whole = false;
};

absl::StatusOr<std::vector<double>> ReadList(const ListRules& rules, const std::string& text) {
  std::vector<double> values;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const std::vector<std::string> ends = absl::StrSplit(part, ':');
    double numbers[3] = {0, 0, rules.default_step};
    bool good = ends.size() <= 3 && (ends.size() != 2 || rules.default_step > 0);
    for (size_t i = 0; good && i < ends.size(); ++i) {
      good = ToPositive(ends[i], rules.largest, &numbers[i]) && (!rules.whole || std::floor(numbers[i]) == numbers[i]);
    }
    if (ends.size() == 1) numbers[1] = numbers[0];
    if (ends.size() == 1) numbers[2] = 1;
    if (!good || numbers[1] < numbers[0]) return WithFlag(rules.flag, Unfit(text, rules.allowed));
    // Rounding must not lose the last one.
    const double steps = std::min(std::floor((numbers[1] - numbers[0]) / numbers[2] + 1e-9), double{kMostPoints});
    const int count = static_cast<int>(steps) + 1;
    if (values.size() + static_cast<size_t>(count) > size_t{kMostPoints}) {
      return WithFlag(rules.flag, Unfit(text, absl::StrCat("at most ", kMostPoints, " points")));
    }
    for (int i = 0; i < count; ++i) values.push_back(numbers[0] + i * numbers[2]);
  }
  return values;
}

absl::Status ReadArrivals(const LoadFlags& flags, LoadModel* model) {
  *model = LoadModel::kPoisson;
  if (flags.arrivals.empty()) return absl::OkStatus();
  if (flags.rate.empty() && !flags.find_capacity) {
    return absl::InvalidArgumentError("--arrivals: goes with --rate or --find-capacity");
  }
  constexpr Choice<LoadModel> kChoices[] = {{"poisson", LoadModel::kPoisson}, {"constant", LoadModel::kConstant}};
  return WithFlag("--arrivals", ReadChoice(flags.arrivals, kChoices, model));
}

absl::Status ReadRamp(const std::string& text, std::vector<LoadPoint>* points) {
  const std::vector<std::string> ends = absl::StrSplit(text, ':');
  LoadPoint point{.model = LoadModel::kRamp};
  if (ends.size() != 2 || !ToPositive(ends[0], kFastest, &point.rate) ||
      !ToPositive(ends[1], kFastest, &point.end_rate)) {
    return WithFlag("--ramp", Unfit(text, "A:B, two rates > 0 in calls per second"));
  }
  points->push_back(point);
  return absl::OkStatus();
}

absl::Status CheckLoadModels(const LoadFlags& flags) {
  std::string first;
  for (const auto& [flag, text] : {std::pair{"--concurrency", &flags.concurrency}, std::pair{"--rate", &flags.rate},
                                   std::pair{"--ramp", &flags.ramp}}) {
    if (text->empty()) continue;
    if (!first.empty()) return DoesNotGoWith(flag, first);
    first = flag;
  }
  if (!flags.find_capacity) return absl::OkStatus();
  if (!flags.concurrency.empty()) return DoesNotGoWith("--concurrency", "--find-capacity");
  if (!flags.ramp.empty()) return DoesNotGoWith("--ramp", "--find-capacity");
  if (!flags.repeat.empty()) return DoesNotGoWith("--repeat", "--find-capacity, which repeats what is in doubt");
  if (!flags.slo.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("--find-capacity: needs --slo, such as p99=20ms,errors=0.1%");
}

absl::Status ReadPoints(const LoadFlags& flags, LoadOptions* options) {
  if (auto status = CheckLoadModels(flags); !status.ok()) return status;
  LoadModel arrivals = LoadModel::kPoisson;
  if (auto status = ReadArrivals(flags, &arrivals); !status.ok()) return status;
  if (!flags.ramp.empty()) return ReadRamp(flags.ramp, &options->points);
  if (!flags.rate.empty() || flags.find_capacity) {
    const ListRules rules{"--rate", "calls per second > 0: R, A:B:STEP, or several with commas between them", kFastest};
    const auto rates = ReadList(rules, flags.rate.empty() ? absl::StrCat(options->start_rate) : flags.rate);
    if (!rates.ok()) return rates.status();
    if (flags.find_capacity && rates->size() > 1) {
      return WithFlag("--rate", Unfit(flags.rate, "one rate, at which --find-capacity begins"));
    }
    for (const double rate : *rates) options->points.push_back({.model = arrivals, .rate = rate});
    options->start_rate = rates->front();
    return absl::OkStatus();
  }
  const ListRules rules{"--concurrency", "callers >= 1: N, A:B, A:B:STEP, or several with commas between them",
                        kMostCallers, 1, true};
  const auto callers = ReadList(rules, flags.concurrency.empty() ? "1" : flags.concurrency);
  if (!callers.ok()) return callers.status();
  for (const double count : *callers) options->points.push_back({.concurrency = static_cast<int>(count)});
  return absl::OkStatus();
}

absl::Status ReadShapeFlags(const LoadFlags& flags, load::WorkShape* shape) {
  if (flags.shape.contains("q_len") && (flags.shape.contains("packed") || !shape->packed.empty())) {
    return DoesNotGoWith("--q-len", "--packed, which says the lengths");
  }
  for (const auto& [name, text] : flags.shape) {
    if (auto status = load::FindShapeField(name)->read(text, shape); !status.ok()) {
      return WithFlag(FlagName(name), status);
    }
  }
  absl::Status status = CheckShape(*shape);
  if (status.ok()) return status;
  const std::string message(status.message());
  const size_t colon = message.find(':');
  return absl::InvalidArgumentError(absl::StrCat(FlagName(message.substr(0, colon)), message.substr(colon)));
}

absl::Status ReadCases(const LoadFlags& flags, LoadOptions* options) {
  for (const auto& [name, text] : flags.shape) {
    if (name != "weights") return DoesNotGoWith(FlagName(name), "--case, which says it all");
  }
  const auto weights = flags.shape.find("weights");
  for (const std::string& path : flags.cases) {
    load::WorkShape& shape = options->shapes.emplace_back();
    shape.case_file = path;
    const size_t name = path.rfind('/') + 1;
    shape.name = path.substr(name, path.rfind('.') > name ? path.rfind('.') - name : std::string::npos);
    if (weights != flags.shape.end()) shape.weights = weights->second;
  }
  return absl::OkStatus();
}

absl::Status ReadWhat(const LoadFlags& flags, LoadOptions* options) {
  if (!flags.mix.empty() && !flags.preset.empty()) return DoesNotGoWith("--preset", "--mix");
  if (!flags.cases.empty() && !flags.preset.empty()) return DoesNotGoWith("--preset", "--case");
  if (!flags.cases.empty() && !flags.mix.empty()) return DoesNotGoWith("--mix", "--case; a mix may have cases");
  if (auto status = ReadWhole("--seed", flags.seed, 0, INT64_MAX, &options->driver.seed); !status.ok()) return status;
  if (!flags.cases.empty()) return ReadCases(flags, options);
  if (!flags.mix.empty()) {
    if (!flags.shape.empty()) return DoesNotGoWith(FlagName(flags.shape.begin()->first), "--mix; say it in the file");
    auto shapes = load::ReadMix(flags.mix);
    if (!shapes.ok()) return WithFlag("--mix", shapes.status());
    options->shapes = *std::move(shapes);
    return absl::OkStatus();
  }
  load::WorkShape shape;
  if (!flags.preset.empty() || flags.shape.empty()) {
    auto preset = load::ShapeOfPreset(flags.preset.empty() ? load::kDefaultPreset : flags.preset);
    if (!preset.has_value()) {
      return WithFlag("--preset",
                      Unfit(flags.preset, absl::StrCat("a preset's name; there are ", load::PresetNames())));
    }
    shape = *std::move(preset);
  }
  if (auto status = ReadShapeFlags(flags, &shape); !status.ok()) return status;
  options->shapes.push_back(std::move(shape));
  return absl::OkStatus();
}

absl::Status ReadHowLong(const LoadFlags& flags, LoadOptions* options) {
  load::RunPlan& plan = options->plan;
  plan.warm_up = std::chrono::seconds(flags.find_capacity ? 1 : 2);
  plan.duration = std::chrono::seconds(flags.find_capacity ? 5 : 10);
  // A number of calls alone says it all.
  if (!flags.calls.empty()) plan.duration = std::chrono::hours(24);
  for (const absl::Status& status : {ReadWhole("--calls", flags.calls, 1, INT64_MAX, &plan.calls.emplace(0)),
                                     ReadDuration("--duration", flags.duration, /*may_be_zero=*/false, &plan.duration),
                                     ReadDuration("--warm-up", flags.warm_up, /*may_be_zero=*/true, &plan.warm_up),
                                     ReadWhole("--repeat", flags.repeat, 1, 1000, &options->repeat)}) {
    if (!status.ok()) return status;
  }
  if (flags.calls.empty()) plan.calls.reset();
  return absl::OkStatus();
}

absl::Status ReadVerify(const std::string& text, load::VerifierOptions* options) {
  if (text.empty() || text == "first") return absl::OkStatus();
  options->enabled = text != "off";
  options->share = text == "all" ? 1 : 0;
  if (text == "off" || text == "all") return absl::OkStatus();
  double percent = 0;
  if (!text.ends_with('%') || !ToPositive(text.substr(0, text.size() - 1), 100, &percent)) {
    return WithFlag("--verify", Unfit(text, "first, all, off, or a share such as 1%"));
  }
  options->share = percent / 100;
  return absl::OkStatus();
}

int DefaultChannels(const std::vector<LoadPoint>& points) {
  int callers = 0;
  for (const LoadPoint& point : points) {
    if (point.model != LoadModel::kClosed) return 4;
    callers = std::max(callers, point.concurrency);
  }
  return std::clamp((callers + kCallersPerChannel - 1) / kCallersPerChannel, 1, kMostDefaultChannels);
}

absl::Status ReadAddresses(const std::string& flag, const std::vector<std::string>& lists,
                           std::vector<std::string>* addresses) {
  for (const std::string& list : lists) {
    for (const std::string& address : std::vector<std::string>(absl::StrSplit(list, ','))) {
      if (auto status = CheckAddress(address); !status.ok()) return WithFlag(flag, status);
      addresses->push_back(address);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadConnections(const LoadFlags& flags, const ClientOptions& client, LoadOptions* options) {
  load::DriverOptions& driver = options->driver;
  if (auto status = ReadAddresses("--endpoints", flags.endpoints, &driver.addresses); !status.ok()) return status;
  if (driver.addresses.empty()) driver.addresses = {client.address};
  driver.timeout = client.timeout;
  driver.channels = DefaultChannels(options->points);
  for (const absl::Status& status : {ReadWhole("--channels", flags.channels, 1, 1024, &driver.channels),
                                     ReadWhole("--threads", flags.threads, 1, 256, &driver.threads),
                                     ReadWhole("--attempts", flags.attempts, 1, 100, &driver.max_attempts)}) {
    if (!status.ok()) return status;
  }
  return ReadAddresses("--metrics", flags.metrics, &options->metrics);
}

absl::Status ReadConditions(const LoadFlags& flags, LoadOptions* options) {
  if (!flags.slo.empty()) {
    auto objective = load::ParseObjective(flags.slo);
    if (!objective.ok()) return WithFlag("--slo", objective.status());
    options->plan.good_latency = objective->latency;
    options->objective = *std::move(objective);
  }
  for (const std::string& text : flags.fail_if) {
    auto condition = load::ParseFailIf(text);
    if (!condition.ok()) return WithFlag("--fail-if", condition.status());
    if (condition->measure == "goodput" && !options->objective.has_value()) {
      return WithFlag("--fail-if", absl::InvalidArgumentError("goodput needs --slo, which says what is good"));
    }
    options->fail_if.push_back(*std::move(condition));
  }
  return absl::OkStatus();
}

absl::Status ReadFiles(const LoadFlags& flags, LoadOptions* options) {
  options->json = flags.json;
  options->html = flags.html;
  if (flags.json.empty() || flags.html.empty()) return absl::OkStatus();
  std::error_code ignored;
  const auto place = [&ignored](const std::string& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path, ignored), ignored);
  };
  return place(flags.json) == place(flags.html) ? DoesNotGoWith("--html", "--json of the same file") : absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadOptions> CheckLoad(const LoadFlags& flags, const ClientOptions& client) {
  LoadOptions options;
  options.find_capacity = flags.find_capacity;
  for (const auto read : {ReadPoints, ReadWhat, ReadHowLong, ReadConditions, ReadFiles}) {
    if (auto status = read(flags, &options); !status.ok()) return status;
  }
  if (auto status = ReadVerify(flags.verify, &options.verifier); !status.ok()) return status;
  if (auto status = ReadConnections(flags, client, &options); !status.ok()) return status;
  return options;
}

}  // namespace attnd::attnctl
