#include "client/attnctl/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/address.h"
#include "client/attnctl/case_flags.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/commands.h"
#include "client/attnctl/examples.h"
#include "client/attnctl/explain_command.h"
#include "client/attnctl/heatmap/command.h"
#include "client/attnctl/load_command.h"
#include "client/attnctl/load_options.h"
#include "client/attnctl/option_values.h"
#include "client/attnctl/results.h"
#include "client/attnctl/weights_commands.h"
#include "client/client.h"
#include "client/printable.h"

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
  ExplainFlags explain;
  CaseFlags multihead{.source = {.kind = CaseKind::kMultiHead}, .output = {}};
  HeatmapFlags heatmap;
  WeightsFlags weights;
  LoadFlags load;
  // What they mean, once they were checked.
  LoadOptions load_options;
  // Of the whole command line.
  std::string command;
  std::string report_before;
  std::string report_after;
  bool info_json = false;
  std::string health_service;
};

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return Printable(text);
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

// As a shell takes it for one word.
std::string Quoted(const std::string& word) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=%+@";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

// In lines that fit the help.
std::string ExamplesHelp(CaseKind kind) {
  constexpr size_t kWidth = 70;
  std::string text = "a built-in case:";
  size_t width = text.size();
  for (const std::string& name : ExampleNames(kind)) {
    const bool fits = width + 2 + name.size() <= kWidth;
    absl::StrAppend(&text, text.back() == ':' ? "" : ",", fits ? " " : "\n", name);
    width = (fits ? width + 2 : 0) + name.size();
  }
  return text;
}

// Where cases come from and results go.
void AddFiles(CLI::App* command, CaseFlags* flags) {
  constexpr char kFiles[] = "Files";
  CaseSource& source = flags->source;
  command->add_option("--input", source.input, "a case: tensors and options by the names below, '-' as '_'")
      ->type_name("CASE.safetensors")
      ->group(kFiles);
  command->add_option("--example", source.example, ExamplesHelp(source.kind))->type_name("NAME")->group(kFiles);
  command->add_option("--output", flags->output, "write all results (.safetensors), or the output alone (.npy)")
      ->type_name("FILE")
      ->group(kFiles);
}

void AddOptions(CLI::App* command, CaseSource* source) {
  for (const OptionRule& rule : OptionRules(source->kind)) AddOption(rule, FlagName(rule), command, &source->flags);
}

void AddAttend(CLI::App* app, CaseFlags* flags) {
  CLI::App* attend = app->add_subcommand("attend", "compute attention of a case and print the result");
  AddFiles(attend, flags);
  AddOptions(attend, &flags->source);
  attend->footer(kAboutCases);
}

void AddExplain(CLI::App* app, ExplainFlags* flags) {
  constexpr char kPage[] = "Page";
  CLI::App* explain = app->add_subcommand("explain", "show step by step how attention of a small case is computed");
  AddFiles(explain, &flags->computed);
  explain
      ->add_option("--cell", flags->cell,
                   "whose arithmetic is written out, by index or token: 2,1 or sat,cat\n"
                   "(default: the last query and the key that weighs most for it)")
      ->type_name("QUERY,KEY")
      ->group(kPage);
  explain->add_option("--head", flags->head.head, "query head to show (default 0)")->type_name("N")->group(kPage);
  explain->add_option("--batch", flags->head.batch, "batch entry, or sequence, to show (default 0)")
      ->type_name("N")
      ->group(kPage);
  AddOptions(explain, &flags->computed.source);
  explain->footer(absl::StrCat("First try: attnctl explain --example cat-sat\n", kAboutCases));
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
  AddExplain(app, &flags->explain);
  AddMultiHead(app, &flags->multihead);
  AddHeatmap(app, &flags->heatmap);
  AddWeights(app, &flags->weights);
  AddLoad(app, &flags->load);
  CLI::App* report = app->add_subcommand("report", "compare two load tests: what changed, and how sure that is");
  report->add_option("old", flags->report_before, "what attnctl load --json wrote")->type_name("OLD.json")->required();
  report->add_option("new", flags->report_after, "the same, later")->type_name("NEW.json")->required();
  CLI::App* info = app->add_subcommand("info", "print what the server is and can do");
  info->add_flag("--json", flags->info_json, "as JSON");
  CLI::App* health = app->add_subcommand("health", "print SERVING or NOT_SERVING; exit status 0 if SERVING");
  health->add_option("--service", flags->health_service, "one service, such as attnd.v1.AttentionService; default all")
      ->type_name("NAME");
  app->footer("First try: attnctl attend --example cat-sat\nExit status: 0 good, 1 failed at run time, 2 wrong usage.");
}

// The flags of the command that computes a case, if it is one.
const CaseFlags* ComputedBy(const CLI::App& app, const Flags& flags) {
  if (app.got_subcommand("attend")) return &flags.attend;
  return app.got_subcommand("multihead") ? &flags.multihead : nullptr;
}

// What a different command line would avoid. Reads the timeout.
absl::Status CheckFlags(const CLI::App& app, Flags* flags) {
  if (auto status = ReadTime(flags->timeout, &flags->client.timeout); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--timeout: ", std::string(status.message())));
  }
  if (auto status = CheckAddress(flags->client.address); !status.ok()) return status;
  if (app.got_subcommand("load")) {
    auto options = CheckLoad(flags->load, flags->client);
    if (!options.ok()) return options.status();
    flags->load_options = *std::move(options);
    return absl::OkStatus();
  }
  if (app.got_subcommand("explain")) return CheckExplain(flags->explain);
  if (app.got_subcommand("heatmap")) return CheckHeatmap(&flags->heatmap);
  const CaseFlags* computed = ComputedBy(app, *flags);
  return computed == nullptr ? absl::OkStatus() : CheckCase(*computed);
}

absl::StatusOr<bool> RunCommand(const CLI::App& app, const Flags& flags, std::ostream& out, std::ostream& err) {
  if (app.got_subcommand("load")) return Load(flags.client, flags.load_options, flags.command, out, err);
  if (app.got_subcommand("health")) return Health(flags.client, flags.health_service, out);
  if (app.got_subcommand("weights")) {
    if (absl::Status status = Weights(app, flags.client, flags.weights, out); !status.ok()) return status;
    return true;
  }
  if (app.got_subcommand("report")) {
    if (absl::Status status = Report(flags.report_before, flags.report_after, out); !status.ok()) return status;
    return true;
  }
  if (app.got_subcommand("heatmap")) {
    if (absl::Status status = DrawHeatmap(flags.client, flags.heatmap, out); !status.ok()) return status;
    return true;
  }
  if (app.got_subcommand("explain")) {
    if (absl::Status status = ExplainCase(flags.client, flags.explain, out); !status.ok()) return status;
    return true;
  }
  const CaseFlags* computed = ComputedBy(app, flags);
  absl::Status status =
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

  flags.command = "attnctl";
  for (int i = 1; i < argc; ++i) absl::StrAppend(&flags.command, " ", Quoted(argv[i]));
  const auto good = RunCommand(app, flags, out, err);
  if (!good.ok()) return Fail(Describe(good.status()), kFailed, err);
  out.flush();
  if (!out.good()) return Fail("standard output: cannot be written", kFailed, err);
  return *good ? kGood : kFailed;
}

}  // namespace attnd::attnctl
