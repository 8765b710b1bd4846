#include "client/attnctl/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/address.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/commands.h"
#include "client/attnctl/results.h"
#include "client/attnctl/weights_commands.h"
#include "client/client.h"

namespace attnd::attnctl {
namespace {

constexpr int kGood = 0;
constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

constexpr char kAboutCases[] =
    "LIST is numbers with commas between them, or FILE.npy; one per batch entry, or one for all,\n"
    "unless said otherwise. In a case, query, key, value, mask and bias are tensors (several masks\n"
    "or biases: mask.0, mask.1, ...), lists are tensors or metadata, all else is metadata. Flags beat\n"
    "the case. For --server and --timeout see attnctl --help.";

struct Flags {
  ClientOptions client;
  std::string timeout = "30s";
  CaseFlags attend{.source = {.kind = CaseKind::kAttend}, .output = {}};
  CaseFlags multihead{.source = {.kind = CaseKind::kMultiHead}, .output = {}};
  WeightsFlags weights;
  bool info_json = false;
  std::string health_service;
};

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int Fail(const std::string& problem, int exit_code, std::ostream& err) {
  err << "attnctl: " << OneLine(problem) << "\n";
  return exit_code;
}

// INVALID_ARGUMENT is our own business or says it all; other codes tell what to do next.
std::string Describe(const absl::Status& status) {
  std::string message(status.message());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnavailable:
      return message;
    default:
      return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", message);
  }
}

void AddOption(const OptionRule& rule, CLI::App* command, FlagValues* values) {
  const std::string flag = FlagName(rule);
  const auto add = [values, name = std::string(rule.name)](const std::string& value) {
    (*values)[name].push_back(value);
  };
  CLI::Option* option = nullptr;
  if (rule.repeats) {
    const auto add_all = [add](const std::vector<std::string>& all) { std::for_each(all.begin(), all.end(), add); };
    option = command->add_option_function<std::vector<std::string>>(flag, add_all, rule.help)->expected(1);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  } else {
    option = command->add_option_function<std::string>(flag, add, rule.help);
  }
  option->type_name(rule.value)->group(rule.group);
  if (rule.lone) option->expected(0, 1);
}

// Where cases come from and results go.
void AddFiles(CLI::App* command, CaseFlags* flags) {
  constexpr char kFiles[] = "Files";
  CaseSource& source = flags->source;
  command->add_option("--input", source.input, "a case: tensors and options by the names below, '-' as '_'")
      ->type_name("CASE.safetensors")
      ->group(kFiles);
  command->add_option("--example", source.example, "a built-in case: cat-sat")->type_name("NAME")->group(kFiles);
  command->add_option("--output", flags->output, "write all results (.safetensors), or the output alone (.npy)")
      ->type_name("FILE")
      ->group(kFiles);
}

void AddOptions(CLI::App* command, CaseSource* source) {
  for (const OptionRule& rule : OptionRules(source->kind)) AddOption(rule, command, &source->flags);
}

void AddWeightsChoice(CLI::App* command, WeightsChoice* choice) {
  constexpr char kWeights[] = "Weights";
  command
      ->add_option("--weights", choice->weights,
                   "content id or alias of weights that the server has; or a .safetensors\n"
                   "file, or a folder of them, sent with the request")
      ->type_name("ID|ALIAS|PATH")
      ->group(kWeights);
  command->add_option("--layer", choice->layer, "which layer of the file")->type_name("N")->group(kWeights);
  command->add_option("--name", choice->name, "which weights of the file, as attnctl weights push calls them")
      ->type_name("ALIAS")
      ->group(kWeights);
  AddMapping(command, &choice->mapping)->group(kWeights);
}

void AddAttend(CLI::App* app, CaseFlags* flags) {
  CLI::App* attend = app->add_subcommand("attend", "compute attention of a case and print the result");
  AddFiles(attend, flags);
  AddOptions(attend, &flags->source);
  attend->footer(kAboutCases);
}

void AddMultiHead(CLI::App* app, CaseFlags* flags) {
  CLI::App* multihead = app->add_subcommand(
      "multihead", "compute multi-head attention, or a transformer layer, of embeddings and weights");
  AddFiles(multihead, flags);
  AddWeightsChoice(multihead, &flags->source.weights);
  AddOptions(multihead, &flags->source);
  const auto pack = [flags] { flags->source.flags["layout"].emplace_back("packed"); };
  multihead->add_flag_callback("--packed", pack, "short for --layout packed")
      ->group(multihead->get_option("--layout")->get_group());
  multihead->footer(absl::StrCat("First try: attnctl multihead --example cat-sat\n", kAboutCases));
}

void AddCommands(CLI::App* app, Flags* flags) {
  app->require_subcommand(1);
  app->fallthrough();
  app->get_formatter()->column_width(34);
  app->set_version_flag("--version", "attnctl " ATTND_VERSION);
  app->add_option("--server", flags->client.address, "HOST:PORT or unix:PATH; default 127.0.0.1:50051")
      ->type_name("ADDRESS")
      ->envname("ATTND_SERVER");
  app->add_option("--timeout", flags->timeout, "time a call may take, such as 500ms, 30s (default) or 2m; 0s: no bound")
      ->type_name("TIME");
  AddAttend(app, &flags->attend);
  AddMultiHead(app, &flags->multihead);
  AddWeights(app, &flags->weights);
  CLI::App* info = app->add_subcommand("info", "print what the server is and can do");
  info->add_flag("--json", flags->info_json, "as JSON");
  CLI::App* health = app->add_subcommand("health", "print SERVING or NOT_SERVING; exit status 0 if SERVING");
  health->add_option("--service", flags->health_service, "one service, such as attnd.v1.AttentionService; default all")
      ->type_name("NAME");
  app->footer("First try: attnctl attend --example cat-sat\nExit status: 0 good, 1 failed at run time, 2 wrong usage.");
}

// "500ms", "30s", "1.5m".
absl::StatusOr<std::chrono::milliseconds> ParseTime(const std::string& text) {
  constexpr std::array<std::pair<std::string_view, double>, 3> kUnits = {{{"ms", 1}, {"s", 1e3}, {"m", 60e3}}};
  constexpr double kLongest = 1e12;
  const size_t unit_at = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto* const unit = std::find_if(kUnits.begin(), kUnits.end(),
                                        [&](const auto& known) { return known.first == text.substr(unit_at); });
  double number = 0;
  if (unit == kUnits.end() || !absl::SimpleAtod(text.substr(0, unit_at), &number) || number * unit->second > kLongest) {
    return absl::InvalidArgumentError(absl::StrCat("--timeout: '", text, "' is not a time such as 500ms, 30s or 2m"));
  }
  return std::chrono::milliseconds(std::llround(std::ceil(number * unit->second)));
}

// The flags of the command that computes a case, if it is one.
const CaseFlags* ComputedBy(const CLI::App& app, const Flags& flags) {
  if (app.got_subcommand("attend")) return &flags.attend;
  return app.got_subcommand("multihead") ? &flags.multihead : nullptr;
}

// What a different command line would avoid. Reads the timeout.
absl::Status CheckFlags(const CLI::App& app, Flags* flags) {
  const auto timeout = ParseTime(flags->timeout);
  if (!timeout.ok()) return timeout.status();
  flags->client.timeout = *timeout;
  if (auto status = CheckAddress(flags->client.address); !status.ok()) return status;
  const CaseFlags* computed = ComputedBy(app, *flags);
  return computed == nullptr ? absl::OkStatus() : CheckCase(*computed);
}

absl::StatusOr<bool> RunCommand(const CLI::App& app, const Flags& flags, std::ostream& out) {
  if (app.got_subcommand("health")) return Health(flags.client, flags.health_service, out);
  if (app.got_subcommand("weights")) {
    if (absl::Status status = Weights(app, flags.client, flags.weights, out); !status.ok()) return status;
    return true;
  }
  const CaseFlags* computed = ComputedBy(app, flags);
  const absl::Status status =
      computed == nullptr ? Info(flags.client, flags.info_json, out) : Compute(flags.client, *computed, out);
  if (!status.ok()) return status;
  return true;
}

}  // namespace

int Run(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  CLI::App app("Talks to an attnd server: attention as a service.", "attnctl");
  Flags flags;
  AddCommands(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    app.exit(asked, out, err);
    return kGood;
  } catch (const CLI::ParseError& problem) {
    return Fail(absl::StrCat(problem.what(), " (see attnctl --help)"), kWrongUsage, err);
  }
  if (auto status = CheckFlags(app, &flags); !status.ok()) return Fail(Describe(status), kWrongUsage, err);

  const auto good = RunCommand(app, flags, out);
  if (!good.ok()) return Fail(Describe(good.status()), kFailed, err);
  out.flush();
  if (!out.good()) return Fail("standard output: cannot be written", kFailed, err);
  return *good ? kGood : kFailed;
}

}  // namespace attnd::attnctl
