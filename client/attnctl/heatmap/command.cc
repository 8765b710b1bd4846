#include "client/attnctl/heatmap/command.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/attnctl/commands.h"
#include "client/attnctl/heatmap/map_file.h"
#include "client/attnctl/heatmap/map_from_reply.h"
#include "client/attnctl/heatmap/map_tokens.h"
#include "client/attnctl/option_values.h"
#include "client/printable.h"

namespace attnd::attnctl {
namespace {

absl::Status Wrong(const std::string& flag, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", problem));
}

absl::Status ReadList(const char* flag, const std::string& text, std::vector<int64_t>* list) {
  if (text.empty()) return absl::OkStatus();
  const absl::Status status = ReadIntegers(text, list);
  return status.ok() ? status : Wrong(flag, std::string(status.message()));
}

// The flag that gave the option.
std::string FlagOf(const std::string& name) {
  const OptionRule* rule = FindOptionRule(CaseKind::kAttend, name);
  if (rule == nullptr) rule = FindOptionRule(CaseKind::kMultiHead, name);
  return rule == nullptr ? FlagName(name) : CaseFlagName(*rule);
}

absl::Status CheckNumbers(const HeatmapFlags& flags) {
  const MapOptions& options = flags.options;
  if (options.cells.has_value() && (*options.cells < 1 || *options.cells > kMaxCells)) {
    return Wrong("--cells", absl::StrCat(*options.cells, " is not 1 to ", kMaxCells));
  }
  if (options.columns.value_or(1) < 1) return Wrong("--columns", "at least 1");
  if (flags.file.length.value_or(1) < 1) return Wrong("--length", "at least 1");
  if (!flags.zeros.empty() && flags.zeros != "weights" && flags.zeros != "hidden") {
    return Wrong("--zeros", absl::StrCat("'", flags.zeros, "' is not weights or hidden"));
  }
  if (!flags.save.empty() && !flags.save.ends_with(".npy")) {
    return Wrong("--save", absl::StrCat("'", flags.save, "' does not end in .npy"));
  }
  return absl::OkStatus();
}

absl::Status ReadNames(HeatmapFlags* flags) {
  const auto split = [](const std::string& text) {
    return text.empty() ? std::vector<std::string>() : std::vector<std::string>(absl::StrSplit(text, ','));
  };
  flags->options.tokens = split(flags->tokens);
  flags->options.key_tokens = split(flags->key_tokens);
  if (flags->tokens_file.empty()) return absl::OkStatus();
  return flags->tokens.empty() ? absl::OkStatus() : Wrong("--tokens-file", "--tokens says it already");
}

// The flags of cases that go with a file, too.
absl::Status CheckFile(HeatmapFlags* flags) {
  const CaseSource& source = flags->source;
  if (!source.input.empty() || !source.example.empty() || flags->multihead || !source.weights.weights.empty()) {
    return Wrong("--from", "a file of weights, or a case, but not both");
  }
  for (const auto& [name, values] : source.flags) {
    if (name != "causal") return Wrong(FlagOf(name), "is for cases, not for --from");
    flags->file.visibility.causal = values.back();
  }
  flags->file.visibility.zeros_hidden = flags->zeros == "hidden";
  return absl::OkStatus();
}

// What goes wrong with an option whose flag has another name here.
absl::Status Renamed(const absl::Status& status) {
  constexpr std::string_view kHeads = "--heads: ";
  const std::string message(status.message());
  if (!message.starts_with(kHeads)) return status;
  return {status.code(), absl::StrCat("--query-heads: ", message.substr(kHeads.size()))};
}

absl::Status CheckFlagsOfKind(const CaseSource& source) {
  for (const auto& [name, values] : source.flags) {
    if (FindOptionRule(source.kind, name) == nullptr) return Wrong(FlagOf(name), "goes without --multihead");
  }
  if (source.kind == CaseKind::kMultiHead || source.weights.weights.empty()) return absl::OkStatus();
  return Wrong("--weights", "goes with --multihead");
}

absl::Status CheckLive(HeatmapFlags* flags) {
  CaseSource& source = flags->source;
  source.kind = flags->multihead ? CaseKind::kMultiHead : CaseKind::kAttend;
  const bool any = !source.input.empty() || !source.example.empty() || source.flags.contains("query") ||
                   source.flags.contains("key") || source.flags.contains("value");
  if (!any) {
    return absl::InvalidArgumentError("give --from FILE, or a case: --input CASE, --example NAME, or --query FILE ...");
  }
  const MapFile& file = flags->file;
  for (const auto& [flag, given] :
       {std::pair{"--tensor", !file.tensor.empty()}, std::pair{"--length", file.length.has_value()},
        std::pair{"--rollout", file.rollout}, std::pair{"--zeros", !flags->zeros.empty()},
        std::pair{"--layers", !flags->layers.empty()}}) {
    if (given) return Wrong(flag, "goes with --from");
  }
  if (auto status = CheckFlagsOfKind(source); !status.ok()) return status;
  return Renamed(CheckUsage(source).status());
}

absl::StatusOr<DrawnMap> MapFromServer(const ClientOptions& options, const HeatmapFlags& flags,
                                       const MapOptions& map_options) {
  auto input = LoadCase(flags.source);
  if (!input.ok()) return Renamed(input.status());
  AskForMap(map_options, &*input);
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const auto reply = Ask(**client, *input);
  if (!reply.ok()) return reply.status();
  return MapFromReply(*input, reply->attention, map_options);
}

}  // namespace

absl::Status CheckHeatmap(HeatmapFlags* flags) {
  if (flags->output.empty() && flags->save.empty()) return Wrong("--output", "is needed: FILE.png, .svg or .html");
  if (flags->output.empty() && !flags->theme.empty()) return Wrong("--theme", "goes with --output");
  if (!flags->output.empty()) {
    if (auto status = CheckPicture(flags->output, flags->theme); !status.ok()) return status;
  }
  for (auto status : {CheckNumbers(*flags), ReadNames(flags), ReadList("--heads", flags->heads, &flags->options.heads),
                      ReadList("--layers", flags->layers, &flags->options.layers)}) {
    if (!status.ok()) return status;
  }
  return flags->file.path.empty() ? CheckLive(flags) : CheckFile(flags);
}

absl::Status DrawHeatmap(const ClientOptions& options, const HeatmapFlags& flags, std::ostream& out) {
  MapOptions map_options = flags.options;
  if (!flags.tokens_file.empty()) {
    auto tokens = ReadTokens(flags.tokens_file);
    if (!tokens.ok()) return tokens.status();
    map_options.tokens = *std::move(tokens);
  }
  const auto drawn =
      flags.file.path.empty() ? MapFromServer(options, flags, map_options) : MapFromFile(flags.file, map_options);
  if (!drawn.ok()) return drawn.status();
  std::vector<std::string> lines = drawn->notes;
  if (!flags.output.empty()) {
    auto written = WritePicture(flags.output, flags.theme, *drawn);
    if (!written.ok()) return written.status();
    lines.push_back(*std::move(written));
  }
  if (!flags.save.empty()) {
    auto saved = SaveMap(flags.save, *drawn);
    if (!saved.ok()) return saved.status();
    lines.push_back(*std::move(saved));
  }
  for (const std::string& line : lines) out << Printable(line) << "\n";
  return absl::OkStatus();
}

}  // namespace attnd::attnctl
