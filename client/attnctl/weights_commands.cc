#include "client/attnctl/weights_commands.h"

#include <google/protobuf/util/json_util.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/table.h"
#include "client/printable.h"

namespace attnd::attnctl {
namespace {

constexpr size_t kLineWidth = 100;

std::string Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  return google::protobuf::util::MessageToJsonString(message, &text, options).ok() ? text : "{}\n";
}

std::string SizeText(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(bytes);
  size_t unit = 0;
  for (; size >= 1024 && unit + 1 < std::size(kUnits); ++unit) size /= 1024;
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, size, kUnits[unit]);
}

std::string IdleText(double seconds) {
  if (seconds < 100) return absl::StrFormat("%.1f s", seconds);
  return seconds < 6000 ? absl::StrFormat("%.0f min", seconds / 60) : absl::StrFormat("%.1f h", seconds / 3600);
}

// "BFLOAT16" for DATA_TYPE_BFLOAT16.
std::string WordOf(const std::string& enumerator, std::string_view prefix) {
  return std::string_view(enumerator).starts_with(prefix) ? enumerator.substr(prefix.size()) : enumerator;
}

// Lines of words with commas, indented.
std::string Wrap(const google::protobuf::RepeatedPtrField<std::string>& words) {
  std::string text;
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty() && line.size() + word.size() + 2 > kLineWidth) {
      absl::StrAppend(&text, line, ",\n");
      line.clear();
    }
    absl::StrAppend(&line, line.empty() ? "  " : ", ", word);
  }
  return line.empty() ? text : absl::StrCat(text, line, "\n");
}

std::string Table(const v1::ListWeightsResponse& list) {
  std::string text;
  if (list.weights_size() > 0) text = absl::StrFormat("%-64s %10s %6s %9s\n", "id", "size", "in use", "idle");
  for (const v1::WeightsInfo& info : list.weights()) {
    absl::StrAppend(&text,
                    absl::StrFormat("%-64s %10s %6d %9s\n", info.weights_id(), SizeText(info.bytes()), info.requests(),
                                    IdleText(info.idle_seconds())),
                    Wrap(info.aliases()));
  }
  absl::StrAppend(&text,
                  absl::StrFormat("%d %s, %s of %s\n", list.weights_size(), list.weights_size() == 1 ? "set" : "sets",
                                  SizeText(list.resident_bytes()), SizeText(list.budget_bytes())));
  return text;
}

std::string Description(const v1::WeightsInfo& info) {
  std::vector<std::pair<std::string, std::string>> pairs = {
      {"id", info.weights_id()},
      {"aliases", info.aliases().empty() ? "none" : info.aliases(0)},
      {"size", SizeText(info.bytes())},
      {"in use", absl::StrCat(info.requests(), info.requests() == 1 ? " request" : " requests")},
      {"idle", IdleText(info.idle_seconds())},
      {"orientation", WordOf(v1::ProjectionWeights::Orientation_Name(info.orientation()), "ORIENTATION_")},
  };
  for (int i = 1; i < info.aliases_size(); ++i) pairs.insert(pairs.begin() + 1 + i, {"", info.aliases(i)});
  for (const v1::WeightsTensor& tensor : info.tensors()) {
    pairs.emplace_back(tensor.name(), absl::StrCat(WordOf(v1::DataType_Name(tensor.dtype()), "DATA_TYPE_"), " [",
                                                   absl::StrJoin(tensor.shape(), ", "), "]"));
  }
  return FormatPairs(pairs);
}

absl::Status Push(Client& client, const WeightsFlags& flags, std::ostream& out) {
  const auto result = PushWeights(client, flags.push, [&out](const PushedWeights& set) {
    out << Printable(set.registered.id) << "  " << set.alias << (set.registered.existed ? "  (was there)" : "") << '\n'
        << std::flush;
  });
  if (!result.ok()) return result.status();
  out << result->sets.size() << (result->sets.size() == 1 ? " set" : " sets") << " registered, "
      << result->passed_over.size() << " tensors passed over\n";
  return absl::OkStatus();
}

absl::Status List(Client& client, const WeightsFlags& flags, std::ostream& out) {
  const auto list = client.ListWeights();
  if (!list.ok()) return list.status();
  out << (flags.json ? Json(*list) : Printable(Table(*list)));
  return absl::OkStatus();
}

absl::Status Describe(Client& client, const WeightsFlags& flags, std::ostream& out) {
  const auto info = client.DescribeWeights(flags.name);
  if (!info.ok()) return info.status();
  out << (flags.json ? Json(*info) : Printable(Description(*info)));
  return absl::OkStatus();
}

absl::Status Delete(Client& client, const WeightsFlags& flags, std::ostream& out) {
  const auto id = client.DeleteWeights(flags.name);
  if (!id.ok()) return id.status();
  out << "deleted " << Printable(*id) << "\n";
  return absl::OkStatus();
}

absl::Status Alias(Client& client, const WeightsFlags& flags, std::ostream& out) {
  const auto id = client.SetWeightsAlias(flags.name, flags.alias);
  if (!id.ok()) return id.status();
  out << Printable(*id) << "  " << flags.alias << "\n";
  return absl::OkStatus();
}

struct Command {
  const char* name;
  absl::Status (*run)(Client& client, const WeightsFlags& flags, std::ostream& out);
};
constexpr Command kCommands[] = {
    {"push", Push}, {"list", List}, {"describe", Describe}, {"delete", Delete}, {"alias", Alias}};

void AddName(CLI::App* command, WeightsFlags* flags) {
  command->add_option("name", flags->name, "content id or alias")->type_name("ID|ALIAS")->required();
}

}  // namespace

CLI::Option* AddMapping(CLI::App* command, std::string* mapping) {
  return command
      ->add_option("--mapping", *mapping,
                   "how tensors are named: auto (default), attnd, torch, bert, gpt2, llama\n"
                   "or FILE.json")
      ->type_name("PRESET|FILE");
}

void AddWeights(CLI::App* app, WeightsFlags* flags) {
  CLI::App* weights = app->add_subcommand("weights", "register, list, describe and delete projection weights");
  weights->require_subcommand(1);
  CLI::App* push = weights->add_subcommand("push", "register the layers found in .safetensors files");
  push->add_option("path", flags->push.path, "a file, or a folder of them")->type_name("FILE|FOLDER")->required();
  AddMapping(push, &flags->push.mapping);
  push->add_option("--alias-prefix", flags->push.name, "NAME.layer.0 instead of bert.layer.0")->type_name("NAME");
  CLI::App* list = weights->add_subcommand("list", "what is registered, last used first");
  list->add_flag("--json", flags->json, "as JSON");
  CLI::App* describe = weights->add_subcommand("describe", "one set of weights");
  AddName(describe, flags);
  describe->add_flag("--json", flags->json, "as JSON");
  AddName(weights->add_subcommand("delete", "forget weights and their names"), flags);
  CLI::App* alias = weights->add_subcommand("alias", "give weights a name, taking it from others");
  AddName(alias, flags);
  alias->add_option("alias", flags->alias, "the name")->type_name("ALIAS")->required();
}

absl::Status Weights(const CLI::App& app, const ClientOptions& options, const WeightsFlags& flags, std::ostream& out) {
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const CLI::App* weights = app.get_subcommand("weights");
  for (const Command& command : kCommands) {
    if (weights->got_subcommand(command.name)) return command.run(**client, flags, out);
  }
  return absl::InternalError("no such command");
}

}  // namespace attnd::attnctl
