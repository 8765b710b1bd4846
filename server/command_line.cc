#include "server/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <istream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace attnd {
namespace {

constexpr int kWrongUsage = 2;
constexpr size_t kNameColumn = 34;

// "max-queue-bytes" -> "ATTND_MAX_QUEUE_BYTES".
std::string VariableOf(const std::string& key) {
  std::string name = "ATTND_" + key;
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

bool IsSet(const std::string& variable) {
  const char* value = std::getenv(variable.c_str());  // NOLINT(concurrency-mt-unsafe): no threads yet
  return value != nullptr && *value != '\0';
}

// A configuration file that yields to the environment, which CLI11 would have the other
// way round.
class ConfigBelowEnvironment final : public CLI::ConfigBase {
 public:
  [[nodiscard]] std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::vector<CLI::ConfigItem> kept = CLI::ConfigBase::from_config(input);
    kept.erase(std::remove_if(kept.begin(), kept.end(),
                              [](const CLI::ConfigItem& item) { return IsSet(VariableOf(item.name)); }),
               kept.end());
    return kept;
  }
};

struct Unit {
  std::string_view name;
  double milliseconds;
};
constexpr Unit kUnits[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60'000}};

// "500ms", "30s", "2m" or plain seconds, into a number of milliseconds.
std::string ToMilliseconds(std::string& text) {
  const size_t unit_at = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                  [&](const Unit& candidate) { return candidate.name == text.substr(unit_at); });
  std::istringstream digits(text.substr(0, unit_at));
  double number = 0;
  if (unit == std::end(kUnits) || !(digits >> number) || !digits.eof() || number * unit->milliseconds > 1e9) {
    return "\"" + Printable(text, 40) + "\" is no duration; it must be like 500ms, 30s or 2m";
  }
  text = absl::StrCat(std::llround(number * unit->milliseconds));
  return "";
}

struct LevelName {
  std::string_view name;
  LogLevel level;
};
constexpr LevelName kLevels[] = {{"debug", LogLevel::kDebug},
                                 {"info", LogLevel::kInfo},
                                 {"warning", LogLevel::kWarning},
                                 {"error", LogLevel::kError}};

std::string SizeText(int64_t bytes) {
  if (bytes % (int64_t{1} << 30) == 0) return absl::StrCat(bytes >> 30, "GiB");
  return absl::StrCat(bytes >> 20, "MiB");
}

std::string DurationText(std::chrono::milliseconds duration) {
  return duration.count() % 1000 == 0 ? absl::StrCat(duration.count() / 1000, "s")
                                      : absl::StrCat(duration.count(), "ms");
}

// The flags and where their values go.
class Parser {
 public:
  Parser() {
    app_.set_help_flag();
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::Throw);
    app_.get_formatter()->column_width(kNameColumn);
    app_.config_formatter(std::make_shared<ConfigBelowEnvironment>());
    app_.allow_config_extras(CLI::config_extras_mode::error);
    AddServing();
    AddLimits();
    AddLifecycle();
    AddLogging();
    AddOthers();
    app_.footer(
        "Every flag is also a key of the file, and a variable: --max-queue-bytes is\nATTND_MAX_QUEUE_BYTES. "
        "A flag wins over a variable, a variable over the file.");
  }

  void Parse(int argc, const char* const* argv) {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    // CLI11 reads the file before it looks at variables.
    // NOLINTNEXTLINE(concurrency-mt-unsafe): at start-up there is one thread.
    const char* config = std::getenv(VariableOf("config").c_str());
    const bool given = std::any_of(arguments.begin(), arguments.end(),
                                   [](const std::string& argument) { return argument.starts_with("--config"); });
    if (config != nullptr && *config != '\0' && !given) arguments.push_back(std::string("--config=") + config);
    std::reverse(arguments.begin(), arguments.end());
    app_.parse(std::move(arguments));
    options_.lame_duck = std::chrono::milliseconds(lame_duck_ms_);
    options_.drain_timeout = std::chrono::milliseconds(drain_timeout_ms_);
    options_.idle_trim = std::chrono::milliseconds(idle_trim_ms_);
    options_.upload_idle = std::chrono::milliseconds(upload_idle_ms_);
    options_.slow_request = std::chrono::milliseconds(slow_request_ms_);
    for (const LevelName& level : kLevels) {
      if (level.name == log_level_) options_.log.level = level.level;
    }
    options_.log.format = log_format_ == "json" ? LogFormat::kJson : LogFormat::kText;
  }

  // On one screen, CLI11's two blank lines between groups being one too many.
  [[nodiscard]] std::string Help() const {
    std::string help = app_.help();
    for (size_t at = 0; (at = help.find("\n\n\n", at)) != std::string::npos;) help.erase(at, 1);
    return help;
  }
  [[nodiscard]] const ServerOptions& options() const { return options_; }
  [[nodiscard]] bool healthcheck() const { return healthcheck_; }

 private:
  template <typename T>
  CLI::Option* Add(const std::string& name, T& value, const std::string& kind, const std::string& help) {
    return app_.add_option("--" + name, value, help)->option_text(kind)->group(group_)->envname(VariableOf(name));
  }
  template <typename T>
  CLI::Option* AddNumber(const std::string& name, T& value, const std::string& help) {
    return Add(name, value, "N", absl::StrCat(help, " [", value, "]"));
  }
  CLI::Option* AddSize(const std::string& name, int64_t& value, const std::string& help) {
    return Add(name, value, "SIZE", absl::StrCat(help, " [", SizeText(value), "]"))
        ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
  }
  CLI::Option* AddDuration(const std::string& name, int64_t& value, std::chrono::milliseconds initial,
                           const std::string& help) {
    value = initial.count();
    return Add(name, value, "TIME", absl::StrCat(help, " [", DurationText(initial), "]"))
        ->transform(CLI::Validator(ToMilliseconds, "TIME"));
  }

  void AddServing() {
    group_ = "Serving";
    Add("listen", options_.listen, "HOST:PORT|unix:PATH",
        absl::StrCat("repeatable, port 0: any [", options_.listen.front(), "]"))
        ->delimiter(',')
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    Add("http", options_.http, "HOST:PORT|off", absl::StrCat("metrics, probes [", options_.http, "]"));
    app_.add_flag("--insecure", options_.insecure, "allow plain text beyond this machine")
        ->option_text(" ")  // instead of the variable's name
        ->group(group_)
        ->envname(VariableOf("insecure"));
    Add("ready-file", options_.ready_file, "FILE", "written once serving: addresses and pid");
    AddNumber("workers", options_.workers, "compute threads");
    Add("attention-engine", options_.attention_engine, "NAME", "auto, onednn or fused [auto]");
    Add("linear-engine", options_.linear_engine, "NAME", "of projections: auto, own or onednn [auto]");
    Add("weights", options_.weights, "[NAME=]PATH", "repeatable: .safetensors, or their folder")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    Add("weights-mapping", options_.weights_mapping, "PRESET|FILE", "of their tensors' names [auto]");
  }

  void AddLimits() {
    group_ = "Limits (sizes take KiB, MiB, GiB)";
    AddSize("max-request-bytes", options_.max_request_bytes, "of a request");
    AddSize("max-response-bytes", options_.max_response_bytes, "of a response");
    AddNumber("max-head-dim", options_.max_head_dim, "head_dim and value_dim");
    AddNumber("max-queue-requests", options_.max_queue_requests, "requests admitted at a time");
    AddSize("max-queue-bytes", options_.max_queue_bytes, "memory of admitted requests");
    AddNumber("max-queue-seconds", options_.max_queue_seconds, "predicted work admitted");
    AddNumber("max-concurrent-streams", options_.max_concurrent_streams, "calls per connection");
    AddSize("weights-budget", options_.weights_budget, "memory of registered weights");
    AddDuration("upload-idle", upload_idle_ms_, options_.upload_idle, "for uploads to make progress");
  }

  void AddLifecycle() {
    group_ = "Stopping (times take ms, s, m)";
    AddDuration("lame-duck", lame_duck_ms_, options_.lame_duck, "serve on, not ready, after SIGTERM");
    AddDuration("drain-timeout", drain_timeout_ms_, options_.drain_timeout, "then finish requests");
    AddDuration("idle-trim", idle_trim_ms_, options_.idle_trim, "idle time until memory is freed");
  }

  void AddLogging() {
    group_ = "Logging";
    Add("log-level", log_level_, "LEVEL", "debug, info, warning, error [info]")
        ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
    Add("log-format", log_format_, "FORMAT", "text or json [text]")->check(CLI::IsMember({"text", "json"}));
    Add("log-file", options_.log.file, "FILE", "append to it instead of stderr");
    slow_request_ms_ = options_.slow_request.count();
    AddNumber("slow-request-ms", slow_request_ms_, "log slower requests; 0: none");
  }

  void AddOthers() {
    group_ = "Other";
    app_.set_config("--config", "", "read flags from it, as KEY = VALUE")->option_text("FILE")->group(group_);
    app_.add_flag("--healthcheck", healthcheck_, "probe the server at --listen; 0: serving")
        ->group(group_)
        ->configurable(false);
    app_.set_version_flag("--version", std::string("attnd ") + ATTND_VERSION, "print the version")
        ->group(group_)
        ->configurable(false);
    app_.set_help_flag("-h,--help", "print this")->group(group_)->configurable(false);
  }

  CLI::App app_{"attnd: attention as a network service", "attnd"};
  std::string group_;
  ServerOptions options_;
  bool healthcheck_ = false;
  int64_t lame_duck_ms_ = 0;
  int64_t drain_timeout_ms_ = 0;
  int64_t idle_trim_ms_ = 0;
  int64_t upload_idle_ms_ = 0;
  int64_t slow_request_ms_ = 0;
  std::string log_level_ = "info";
  std::string log_format_ = "text";
};

CommandLine Exit(int status, std::string text) {
  CommandLine result;
  result.exit_status = status;
  result.text = std::move(text);
  return result;
}

// What CLI11 says of a configuration file, in our words.
std::string ConfigProblem(const std::string& problem) {
  const std::string unknown = "INI was not able to parse ";
  if (!problem.starts_with(unknown)) return "--config: " + problem;
  return absl::StrCat("--config: there is no flag \"", problem.substr(unknown.size()), "\"");
}

CommandLine WrongUsage(const std::string& problem) {
  return Exit(kWrongUsage, absl::StrCat("attnd: ", Printable(problem, 500), " (see attnd --help)\n"));
}

}  // namespace

CommandLine ParseCommandLine(int argc, const char* const* argv) {
  Parser parser;
  try {
    parser.Parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Exit(0, parser.Help());
  } catch (const CLI::CallForVersion& version) {
    return Exit(0, std::string(version.what()) + "\n");
  } catch (const CLI::FileError& error) {
    return WrongUsage(ConfigProblem(error.what()));
  } catch (const CLI::ConfigError& error) {
    return WrongUsage(ConfigProblem(error.what()));
  } catch (const CLI::ParseError& error) {
    return WrongUsage(error.what());
  }
  CommandLine result;
  result.options = parser.options();
  result.healthcheck = parser.healthcheck();
  if (const absl::Status status = result.options.Validate(); !status.ok()) {
    return WrongUsage(std::string(status.message()));
  }
  return result;
}

}  // namespace attnd
