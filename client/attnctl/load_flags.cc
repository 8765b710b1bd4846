// The flags of `attnctl load` and their help.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/load_options.h"
#include "client/load/presets.h"
#include "client/load/work_shape.h"

namespace attnd::attnctl {
namespace {

constexpr char kHowHard[] = "How hard";
constexpr char kWhat[] = "What";
constexpr char kHowLong[] = "How long";
constexpr char kTruth[] = "Truth";
constexpr char kConnections[] = "Limits and connections";
constexpr char kResults[] = "Results";

constexpr char kFooter[] =
    "Latency counts from when a call was meant to be sent (response time), so that a server which\n"
    "stalls cannot hide it; the time from the actual send (service time) is reported, too.\n"
    "Examples:\n"
    "  attnctl load --preset vit --concurrency 1,2,4,8\n"
    "  attnctl load --rate 500 --duration 1m --html out.html --fail-if 'p99>20ms'\n"
    "  attnctl load --mix mix.yaml --find-capacity --slo p99=20ms,errors=0.1%\n"
    "Exit status: 0 good, 1 no server, a wrong answer or --fail-if came true, 2 wrong usage.";

// Which would otherwise pass for a flag that was not given.
std::string IsEmpty(const std::string& text) { return text.empty() ? "is empty" : ""; }

CLI::Option* AddText(CLI::App* load, const char* group, const std::string& flag, const std::string& value,
                     const std::string& help, std::string* text) {
  return load->add_option(flag, *text, help)->type_name(value)->group(group)->check(IsEmpty);
}

CLI::Option* AddTexts(CLI::App* load, const char* group, const std::string& flag, const std::string& value,
                      const std::string& help, std::vector<std::string>* texts) {
  auto* option = load->add_option(flag, *texts, help)->type_name(value)->group(group);
  return option->check(IsEmpty)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void AddHowHard(CLI::App* load, LoadFlags* flags) {
  AddText(load, kHowHard, "--concurrency", "N|A:B[:STEP]|LIST",
          "closed loop: so many callers, each of which sends when its last\ncall was answered (default 1)",
          &flags->concurrency);
  AddText(load, kHowHard, "--rate", "R|A:B:STEP|LIST", "open loop: calls per second, whether answers come or not",
          &flags->rate);
  AddText(load, kHowHard, "--arrivals", "KIND", "of --rate: poisson (default) or constant", &flags->arrivals);
  AddText(load, kHowHard, "--ramp", "A:B", "open loop: from A to B calls per second", &flags->ramp);
  load->add_flag("--find-capacity", flags->find_capacity,
                 "search the highest rate that holds --slo, from --rate if given")
      ->group(kHowHard);
  AddText(load, kHowHard, "--slo", "p99=TIME[,errors=N%]", "objective of --find-capacity, and of goodput", &flags->slo);
}

void AddWhat(CLI::App* load, LoadFlags* flags) {
  AddText(load, kWhat, "--preset", "NAME",
          absl::StrCat("requests as models make them, which the flags below change:\n", load::PresetNames(),
                       "\n(default, without other flags: ", load::kDefaultPreset, ")"),
          &flags->preset);
  AddText(load, kWhat, "--mix", "FILE",
          "several kinds of requests, in YAML or JSON: works, a list of\nmaps with "
          "preset, case, or the names of flags below with '_';\nname; and weight, how often it is sent",
          &flags->mix);
  AddTexts(load, kWhat, "--case", "FILE.safetensors",
           "a recorded case, as attnctl attend --input reads it, or\nmultihead with --weights; again: in turn",
           &flags->cases);
  for (const load::ShapeField& field : load::ShapeFields()) {
    const std::string name = field.name;
    const auto keep = [flags, name](const std::string& text) { flags->shape[name] = text; };
    const std::string flag = FlagName(std::string_view(field.name));
    if (std::string_view(field.value).empty()) {
      load->add_flag_callback(
              flag, [keep] { keep("true"); }, field.help)
          ->group(kWhat);
    } else {
      load->add_option_function<std::string>(flag, keep, field.help)->type_name(field.value)->group(kWhat);
    }
  }
  AddText(load, kWhat, "--seed", "N", "of random numbers (default 1)", &flags->seed);
}

}  // namespace

void AddLoad(CLI::App* app, LoadFlags* flags) {
  CLI::App* load = app->add_subcommand("load", "measure how fast the server is, what it takes, and if it is right");
  AddHowHard(load, flags);
  AddWhat(load, flags);
  AddText(load, kHowLong, "--duration", "TIME", "of a run (default 10s; of a probe 5s)", &flags->duration);
  AddText(load, kHowLong, "--calls", "N", "end a run after so many calls", &flags->calls);
  AddText(load, kHowLong, "--warm-up", "TIME", "before each run, not measured (default 2s; of a probe 1s)",
          &flags->warm_up);
  AddText(load, kHowLong, "--repeat", "N", "runs of each point, for confidence intervals (default 1)", &flags->repeat);
  AddText(load, kTruth, "--verify", "first|N%|all|off",
          "answers to compare with a float64 computation: the first of each\nrequest (default), or a share more. "
          "Unless off, all answers to\na request must have the same bits",
          &flags->verify);
  AddTexts(load, kConnections, "--endpoints", "LIST", "servers instead of --server; calls go to them in turn",
           &flags->endpoints);
  AddText(load, kConnections, "--channels", "N", "connections to each (default 1 for every 32 callers; for\nrates 4)",
          &flags->channels);
  AddText(load, kConnections, "--threads", "N", "that send and receive (default 1)", &flags->threads);
  AddText(load, kConnections, "--attempts", "N",
          "send what is refused again after the server's hint, so often in\nall "
          "(default 1)",
          &flags->attempts);
  AddTexts(load, kConnections, "--metrics", "LIST",
           "HOST:PORT where servers serve /metrics, to tell what the runs\n"
           "cost them",
           &flags->metrics);
  AddText(load, kResults, "--json", "FILE", "write everything, for programs and attnctl report", &flags->json);
  AddText(load, kResults, "--html", "FILE", "write a page with plots", &flags->html);
  AddTexts(load, kResults, "--fail-if", "CONDITION",
           "exit with 1 if it comes true, such as 'p99>20ms',\n'errors>0.1%' or 'throughput<500'; again: or this",
           &flags->fail_if);
  load->footer(kFooter);
}

}  // namespace attnd::attnctl
