#include "client/attnctl/case.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {
namespace {

constexpr char kCatSat[] = "cat-sat";
constexpr std::array kMainTensors = {"query", "key", "value"};

absl::Status WithPrefix(const std::string& prefix, const absl::Status& status) {
  return {status.code(), absl::StrCat(prefix, std::string(status.message()))};
}

bool IsFile(const OptionRule& rule, const std::string& value) { return rule.TakesTensor() && value.ends_with(".npy"); }

// The flags that are text, `causal` expanded.
absl::StatusOr<OptionTexts> TextsOf(const FlagValues& flags) {
  OptionTexts texts;
  for (const auto& [name, values] : flags) {
    const OptionRule& rule = *FindOptionRule(name);
    if (values.empty() || IsFile(rule, values.front())) continue;
    if (!rule.TakesText()) {
      return absl::InvalidArgumentError(absl::StrCat(FlagName(name), ": '", values.front(), "' is no .npy file"));
    }
    texts[name] = values.front();
  }
  if (auto status = ExpandCausal(&texts); !status.ok()) return WithPrefix("--causal: ", status);
  return texts;
}

absl::Status ApplyTexts(const OptionTexts& texts, Case* result) {
  for (const auto& [name, text] : texts) {
    const absl::Status status = ApplyText(*FindOptionRule(name), text, result);
    if (!status.ok()) return WithPrefix(FlagName(name) + ": ", status);
  }
  return absl::OkStatus();
}

absl::Status ApplyFiles(const FlagValues& flags, Case* result) {
  for (const auto& [name, values] : flags) {
    const OptionRule& rule = *FindOptionRule(name);
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
absl::StatusOr<OptionTexts> OptionsAmong(const Safetensors& file, const FlagValues& flags) {
  OptionTexts options;
  for (const auto& [name, text] : file.metadata()) {
    const OptionRule* rule = FindOptionRule(name);
    if (rule != nullptr && rule->TakesText()) {
      if (!flags.contains(name)) options[name] = text;
      if (file.Find(name) == nullptr) continue;
      return absl::InvalidArgumentError(absl::StrCat("'", name, "': there is a tensor of this name too"));
    }
    if (rule != nullptr) return absl::InvalidArgumentError(absl::StrCat("'", name, "': it must be a tensor"));
    for (const absl::Status& status : {CheckNotMissed(name), CheckNoSlip(name, /*is_tensor=*/false)}) {
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

std::optional<NamedTensor> OptionOf(const StoredTensor& tensor) {
  const std::string_view name = tensor.name;
  if (const OptionRule* rule = FindOptionRule(name); rule != nullptr) return NamedTensor{rule, -1, &tensor};
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const OptionRule* rule = FindOptionRule(name.substr(0, dot));
  if (rule == nullptr || !rule->repeats) return std::nullopt;
  const std::string digits(name.substr(dot + 1));
  int64_t index = 0;
  if (!absl::SimpleAtoi(digits, &index) || digits != absl::StrCat(index)) index = kNoIndex;
  return NamedTensor{rule, index, &tensor};
}

absl::StatusOr<std::vector<NamedTensor>> TensorsAmong(const Safetensors& file) {
  std::vector<NamedTensor> options;
  for (const StoredTensor& tensor : file.tensors()) {
    const auto option = OptionOf(tensor);
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
    for (const absl::Status& status : {CheckNotMissed(tensor.name), CheckNoSlip(tensor.name, /*is_tensor=*/true)}) {
      if (!status.ok()) return status;
    }
  }
  std::stable_sort(options.begin(), options.end(),
                   [](const NamedTensor& a, const NamedTensor& b) { return a.index < b.index; });
  return options;
}

absl::Status CheckComplete(const Safetensors& file, const std::string& path) {
  for (const char* name : kMainTensors) {
    if (file.Find(name) != nullptr) continue;
    std::vector<std::string> names;
    for (const StoredTensor& tensor : file.tensors()) names.push_back(tensor.name);
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no tensor '", name, "'; it has: ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<Case> LoadSafetensors(const std::string& path, const FlagValues& flags, const OptionTexts& texts) {
  const auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();
  if (auto status = CheckComplete(*file, path); !status.ok()) return status;
  Case result;
  result.owners.push_back(file->owner());

  const auto tensors = TensorsAmong(*file);
  if (!tensors.ok()) return WithPrefix(path + ": tensor ", tensors.status());
  for (const NamedTensor& option : *tensors) {
    if (Overruled(option.rule->name, flags, texts)) continue;
    const std::string where = absl::StrCat(path, ": tensor '", option.tensor->name, "'");
    StoredTensor tensor = *option.tensor;
    tensor.name = where;
    if (auto status = ApplyTensor(*option.rule, tensor, &result); !status.ok()) return WithPrefix(where + ": ", status);
  }
  const auto options = OptionsAmong(*file, flags);
  if (!options.ok()) return WithPrefix(path + ": metadata ", options.status());
  for (const auto& [name, text] : *options) {
    if (Overruled(name, flags, texts)) continue;
    const absl::Status status = ApplyText(*FindOptionRule(name), text, &result);
    if (!status.ok()) return WithPrefix(absl::StrCat(path, ": metadata '", name, "': "), status);
  }
  return result;
}

// Self-attention of three tokens with three made-up features each.
Case CatSat() {
  static constexpr std::array<float, 9> kTokens = {.2F, .8F, .1F, .9F, .3F, .7F, .4F, .6F, .5F};
  Case result;
  result.title = "Self-attention of \"The cat sat\": query = key = value";
  result.tokens = {"The", "cat", "sat"};
  AttentionRequest& request = result.request;
  for (TensorView* tensor : {&request.query, &request.key, &request.value}) {
    *tensor = {DataType::kFloat32, {3, 3}, Fragments(std::as_bytes(std::span(kTokens)))};
  }
  request.options.scale = 1;
  request.outputs.weights.emplace();
  return result;
}

absl::Status CheckSource(const CaseSource& source) {
  const auto given =
      std::count_if(kMainTensors.begin(), kMainTensors.end(), [&](const char* n) { return source.flags.contains(n); });
  if (static_cast<int>(!source.input.empty()) + static_cast<int>(!source.example.empty()) +
          static_cast<int>(given > 0) !=
      1) {
    return absl::InvalidArgumentError(
        "give one of --input FILE, --example NAME, or --query FILE --key FILE --value FILE");
  }
  if (given == 1 || given == 2) return absl::InvalidArgumentError("--query, --key and --value go together");
  if (source.example.empty() || source.example == kCatSat) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--example: '", source.example, "' is not known; there is ", kCatSat));
}

// Stands for what a file will bring.
void ApplyPlaceholders(const FlagValues& flags, Case* result) {
  for (const auto& [name, values] : flags) {
    const OptionRule& rule = *FindOptionRule(name);
    if (values.empty() || !IsFile(rule, values.front())) continue;
    if (rule.integers != nullptr) rule.integers(result)->assign(1, 0);
    if (name == "mask") result->pending.masks.assign(values.size(), {name, StoredType::kBool, {}, {}});
  }
}

}  // namespace

absl::StatusOr<AttentionOutputs> CheckUsage(const CaseSource& source) {
  if (auto status = CheckSource(source); !status.ok()) return status;
  const auto texts = TextsOf(source.flags);
  if (!texts.ok()) return texts.status();
  Case scratch = source.example.empty() ? Case() : CatSat();
  if (auto status = ApplyTexts(*texts, &scratch); !status.ok()) return status;
  // A file may have what the flags lack.
  if (!source.input.empty()) return scratch.request.outputs;
  ApplyPlaceholders(source.flags, &scratch);
  if (auto status = FinishCase(FlagName, &scratch); !status.ok()) return status;
  return scratch.request.outputs;
}

absl::StatusOr<Case> LoadCase(const CaseSource& source) {
  const auto texts = TextsOf(source.flags);
  if (!texts.ok()) return texts.status();
  absl::StatusOr<Case> result = source.example.empty() ? Case() : CatSat();
  if (!source.input.empty()) result = LoadSafetensors(source.input, source.flags, *texts);
  if (!result.ok()) return result;
  for (auto status : {ApplyTexts(*texts, &*result), ApplyFiles(source.flags, &*result)}) {
    if (!status.ok()) return status;
  }
  const auto where = [&source](const std::string& name) {
    if (source.input.empty() || source.flags.contains(name)) return FlagName(name);
    return absl::StrCat(source.input, ": metadata '", name, "'");
  };
  if (auto status = FinishCase(where, &*result); !status.ok()) return status;
  return result;
}

}  // namespace attnd::attnctl
