#include "client/attnctl/case.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/examples.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {
namespace {

constexpr std::array kMainTensors = {"query", "key", "value"};

// A case has all of them, or one with embeddings at least the first.
std::span<const char* const> NeededTensors(CaseKind kind) {
  return std::span(kMainTensors).first(kind == CaseKind::kAttend ? kMainTensors.size() : 1);
}

absl::Status WithPrefix(const std::string& prefix, const absl::Status& status) {
  return {status.code(), absl::StrCat(prefix, std::string(status.message()))};
}

bool IsFile(const OptionRule& rule, const std::string& value) { return rule.TakesTensor() && value.ends_with(".npy"); }

// The flags that are text, `causal` expanded.
absl::StatusOr<OptionTexts> TextsOf(const CaseSource& source) {
  OptionTexts texts;
  for (const auto& [name, values] : source.flags) {
    const OptionRule& rule = *FindOptionRule(source.kind, name);
    if (values.empty() || IsFile(rule, values.front())) continue;
    if (!rule.TakesText()) {
      return absl::InvalidArgumentError(absl::StrCat(FlagName(rule), ": '", values.front(), "' is no .npy file"));
    }
    if (values.back() != values.front()) {
      return absl::InvalidArgumentError(
          absl::StrCat(FlagName(rule), ": is both '", values.front(), "' and '", values.back(), "'"));
    }
    texts[name] = values.front();
  }
  if (auto status = ExpandCausal(&texts); !status.ok()) return WithPrefix("--causal: ", status);
  return texts;
}

absl::Status ApplyTexts(const OptionTexts& texts, Case* result) {
  for (const auto& [name, text] : texts) {
    const absl::Status status = ApplyText(*FindOptionRule(result->kind, name), text, result);
    if (!status.ok()) return WithPrefix(FlagName(name) + ": ", status);
  }
  return absl::OkStatus();
}

absl::Status ApplyFiles(const FlagValues& flags, Case* result) {
  for (const auto& [name, values] : flags) {
    const OptionRule& rule = *FindOptionRule(result->kind, name);
    for (const std::string& path : values) {
      if (!IsFile(rule, path)) continue;
      auto array = ReadNpy(path);
      if (!array.ok()) return array.status();
      result->owners.push_back(std::move(array->owner));
      const absl::Status status = ApplyTensor(rule, {path, array->dtype, array->shape, array->bytes}, result);
      if (!status.ok()) return WithPrefix(path + ": ", status);
    }
  }
  return absl::OkStatus();
}

// Whether the flags say it, so that what the file says does not count. Where positions start
// is one thing, however many options say it.
bool Overruled(const std::string& name, const FlagValues& flags, const OptionTexts& texts) {
  if (flags.contains(name)) return true;
  return texts.contains("alignment") && (name == "alignment" || name == "q_offset" || name == "k_offset");
}

// The options among the metadata, `causal` expanded unless a flag overrules it.
absl::StatusOr<OptionTexts> OptionsAmong(const Safetensors& file, const CaseSource& source) {
  OptionTexts options;
  for (const auto& [name, text] : file.metadata()) {
    const OptionRule* rule = FindOptionRule(source.kind, name);
    if (rule != nullptr && rule->TakesText()) {
      if (!source.flags.contains(name)) options[name] = text;
      if (file.Find(name) == nullptr) continue;
      return absl::InvalidArgumentError(absl::StrCat("'", name, "': there is a tensor of this name too"));
    }
    if (rule != nullptr) return absl::InvalidArgumentError(absl::StrCat("'", name, "': it must be a tensor"));
    for (const absl::Status& status :
         {CheckNotMissed(source.kind, name), CheckNoSlip(source.kind, name, /*is_tensor=*/false)}) {
      if (!status.ok()) return status;
    }
  }
  if (auto status = ExpandCausal(&options); !status.ok()) return WithPrefix("'causal': ", status);
  return options;
}

// A tensor of a file as an option. `index` orders those that repeat: NAME comes before
// NAME.0.
struct NamedTensor {
  const OptionRule* rule = nullptr;
  int64_t index = -1;
  const StoredTensor* tensor = nullptr;
};

// Of NAME.X where X is no number.
constexpr int64_t kNoIndex = std::numeric_limits<int64_t>::max();

std::optional<NamedTensor> OptionOf(CaseKind kind, const StoredTensor& tensor) {
  const std::string_view name = tensor.name;
  if (const OptionRule* rule = FindOptionRule(kind, name); rule != nullptr) return NamedTensor{rule, -1, &tensor};
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const OptionRule* rule = FindOptionRule(kind, name.substr(0, dot));
  if (rule == nullptr || !rule->repeats) return std::nullopt;
  const std::string digits(name.substr(dot + 1));
  int64_t index = 0;
  if (!absl::SimpleAtoi(digits, &index) || digits != absl::StrCat(index)) index = kNoIndex;
  return NamedTensor{rule, index, &tensor};
}

absl::StatusOr<std::vector<NamedTensor>> TensorsAmong(CaseKind kind, const Safetensors& file) {
  std::vector<NamedTensor> options;
  for (const StoredTensor& tensor : file.tensors()) {
    const auto option = OptionOf(kind, tensor);
    if (option.has_value() && option->index == kNoIndex) {
      const std::string name = option->rule->name;
      return absl::InvalidArgumentError(
          absl::StrCat("'", tensor.name, "': several are '", name, ".0', '", name, ".1' and so on"));
    }
    if (option.has_value() && option->rule->TakesTensor()) {
      options.push_back(*option);
      continue;
    }
    if (option.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("'", tensor.name, "': it must be metadata, as text"));
    }
    for (const absl::Status& status :
         {CheckNotMissed(kind, tensor.name), CheckNoSlip(kind, tensor.name, /*is_tensor=*/true)}) {
      if (!status.ok()) return status;
    }
  }
  std::stable_sort(options.begin(), options.end(),
                   [](const NamedTensor& a, const NamedTensor& b) { return a.index < b.index; });
  return options;
}

absl::Status CheckComplete(CaseKind kind, const Safetensors& file, const std::string& path) {
  for (const char* name : NeededTensors(kind)) {
    if (file.Find(name) != nullptr) continue;
    std::vector<std::string> names;
    for (const StoredTensor& tensor : file.tensors()) names.push_back(tensor.name);
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no tensor '", name, "'; it has: ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<Case> LoadSafetensors(const CaseSource& source, const OptionTexts& texts) {
  const std::string& path = source.input;
  const auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();
  if (auto status = CheckComplete(source.kind, *file, path); !status.ok()) return status;
  Case result;
  result.kind = source.kind;
  result.owners.push_back(file->owner());

  const auto tensors = TensorsAmong(source.kind, *file);
  if (!tensors.ok()) return WithPrefix(path + ": tensor ", tensors.status());
  for (const NamedTensor& option : *tensors) {
    if (Overruled(option.rule->name, source.flags, texts)) continue;
    const std::string where = absl::StrCat(path, ": tensor '", option.tensor->name, "'");
    StoredTensor tensor = *option.tensor;
    tensor.name = where;
    if (auto status = ApplyTensor(*option.rule, tensor, &result); !status.ok()) return WithPrefix(where + ": ", status);
  }
  const auto options = OptionsAmong(*file, source);
  if (!options.ok()) return WithPrefix(path + ": metadata ", options.status());
  for (const auto& [name, text] : *options) {
    if (Overruled(name, source.flags, texts)) continue;
    const absl::Status status = ApplyText(*FindOptionRule(source.kind, name), text, &result);
    if (!status.ok()) return WithPrefix(absl::StrCat(path, ": metadata '", name, "': "), status);
  }
  return result;
}

absl::Status CheckMainFlags(const CaseSource& source) {
  const bool attend = source.kind == CaseKind::kAttend;
  const auto is_given = [&source](const char* name) { return source.flags.contains(name); };
  const bool given = std::any_of(kMainTensors.begin(), kMainTensors.end(), is_given);
  if (static_cast<int>(!source.input.empty()) + static_cast<int>(!source.example.empty()) + static_cast<int>(given) !=
      1) {
    return absl::InvalidArgumentError(
        absl::StrCat("give one of --input FILE, --example NAME, or ",
                     attend ? "--query FILE --key FILE --value FILE" : "--embeddings FILE"));
  }
  const auto needed = NeededTensors(source.kind);
  if (!given || std::all_of(needed.begin(), needed.end(), is_given)) return absl::OkStatus();
  return absl::InvalidArgumentError(attend ? "--query, --key and --value go together"
                                           : "--key-embeddings and --value-embeddings go with --embeddings");
}

absl::Status CheckSource(const CaseSource& source) {
  if (auto status = CheckMainFlags(source); !status.ok()) return status;
  const std::vector<std::string> examples = ExampleNames(source.kind);
  if (!source.example.empty() && std::find(examples.begin(), examples.end(), source.example) == examples.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--example: '", source.example, "' is not known; there is ", absl::StrJoin(examples, ", ")));
  }
  if (source.kind == CaseKind::kAttend) return absl::OkStatus();
  if (source.example.empty()) return CheckChoice(source.weights);
  return source.weights.weights.empty() ? absl::OkStatus()
                                        : absl::InvalidArgumentError("--weights: the example has its own");
}

// What is there before files and flags.
Case Begin(const CaseSource& source) {
  if (!source.example.empty()) return Example(source.kind, source.example);
  Case result;
  result.kind = source.kind;
  return result;
}

// Stands for what a file will bring.
void ApplyPlaceholders(const FlagValues& flags, Case* result) {
  for (const auto& [name, values] : flags) {
    const OptionRule& rule = *FindOptionRule(result->kind, name);
    if (values.empty() || !IsFile(rule, values.front())) continue;
    if (rule.integers != nullptr) rule.integers(result)->assign(1, 0);
    if (name == "mask") result->pending.masks.assign(values.size(), {name, StoredType::kBool, {}, {}});
  }
}

}  // namespace

absl::StatusOr<Case> CheckUsage(const CaseSource& source) {
  if (auto status = CheckSource(source); !status.ok()) return status;
  const auto texts = TextsOf(source);
  if (!texts.ok()) return texts.status();
  Case scratch = Begin(source);
  if (auto status = ApplyTexts(*texts, &scratch); !status.ok()) return status;
  // A file may have what the flags lack.
  if (!source.input.empty()) return scratch;
  ApplyPlaceholders(source.flags, &scratch);
  const auto where = [](const std::string& name) { return FlagName(name); };
  if (auto status = FinishCase(where, &scratch); !status.ok()) return status;
  return scratch;
}

absl::StatusOr<Case> LoadCase(const CaseSource& source) {
  const auto texts = TextsOf(source);
  if (!texts.ok()) return texts.status();
  absl::StatusOr<Case> result = source.input.empty() ? Begin(source) : LoadSafetensors(source, *texts);
  if (!result.ok()) return result;
  for (auto status : {ApplyTexts(*texts, &*result), ApplyFiles(source.flags, &*result)}) {
    if (!status.ok()) return status;
  }
  if (source.kind == CaseKind::kMultiHead && source.example.empty()) {
    auto& owner = result->owners.emplace_back();
    if (auto status = ChooseWeights(source.weights, &result->multihead, &owner); !status.ok()) return status;
  }
  const auto where = [&source](const std::string& name) {
    if (source.input.empty() || source.flags.contains(name)) return FlagName(name);
    return absl::StrCat(source.input, ": metadata '", name, "'");
  };
  if (auto status = FinishCase(where, &*result); !status.ok()) return status;
  return result;
}

}  // namespace attnd::attnctl
