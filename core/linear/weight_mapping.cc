#include "core/linear/weight_mapping.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/linear/weight_presets.h"
#include "core/linear/weights_id.h"
#include "core/runtime/file.h"

namespace attnd {
namespace {

using nlohmann::json;

constexpr std::string_view kLayer = "{layer}";
// Layers of a model; also keeps the number readable.
constexpr size_t kMostDigits = 6;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

absl::Status Bad(const std::string& file, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", problem));
}

absl::StatusOr<std::string> Text(const json& object, const char* key, const std::string& file) {
  const auto found = object.find(key);
  if (found == object.end()) return std::string();
  const auto* text = found->get_ptr<const std::string*>();
  if (text == nullptr) return Bad(file, absl::StrCat("'", key, "' is not a string"));
  return *text;
}

size_t LayersIn(std::string_view pattern) {
  size_t count = 0;
  for (size_t at = 0; (at = pattern.find(kLayer, at)) != std::string_view::npos; at += kLayer.size()) ++count;
  return count;
}

absl::Status ReadTensors(const json& document, const std::string& file, NamingScheme& scheme) {
  const auto tensors = document.find("tensors");
  if (tensors == document.end() || !tensors->is_object() || tensors->empty()) {
    return Bad(file, "'tensors' is missing or not an object of role: name");
  }
  for (const auto& [role, value] : tensors->items()) {
    const auto known = WeightRoleFromName(role);
    if (!known.has_value()) return Bad(file, absl::StrCat("'tensors' has '", role, "', which is no role"));
    const auto* pattern = value.get_ptr<const std::string*>();
    if (pattern == nullptr || pattern->empty() || LayersIn(*pattern) > 1) {
      return Bad(file, absl::StrCat("'", role, "' is not a tensor's name, with {layer} once at most"));
    }
    scheme.rules.push_back({*known, NamePattern(*pattern)});
    if (scheme.rules.front().name.has_layer() != scheme.rules.back().name.has_layer()) {
      return Bad(file, absl::StrCat("'", role, "': either all tensors' names have {layer} or none"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAlias(const json& document, const std::string& file, NamingScheme& scheme) {
  auto alias = Text(document, "name", file);
  if (!alias.ok()) return alias.status();
  if (alias->empty()) return absl::OkStatus();
  const bool has_layer = scheme.rules.front().name.has_layer();
  if (LayersIn(*alias) != (has_layer ? 1 : 0)) {
    return Bad(file, has_layer ? "'name' must have {layer} once, as the tensors' names have"
                               : "'name' has {layer}, which the tensors' names do not have");
  }
  if (absl::Status s = CheckAlias("name", NamePattern(*alias).Fill("", 0)); !s.ok()) {
    return Bad(file, std::string(s.message()));
  }
  scheme.alias = *std::move(alias);
  return absl::OkStatus();
}

}  // namespace

NamePattern::NamePattern(std::string_view pattern) {
  const size_t at = pattern.find(kLayer);
  has_layer_ = at != std::string_view::npos;
  before_ = pattern.substr(0, at);
  if (has_layer_) after_ = pattern.substr(at + kLayer.size());
}

std::optional<NamePattern::Match> NamePattern::Find(std::string_view name) const {
  Match match;
  if (has_layer_) {
    if (!name.ends_with(after_)) return std::nullopt;
    name.remove_suffix(after_.size());
    const auto digits = static_cast<size_t>(std::find_if_not(name.rbegin(), name.rend(), IsDigit) - name.rbegin());
    const std::string number(name.substr(name.size() - digits));
    // "01" would be a second name of layer 1.
    const bool plain = digits == 1 || (digits > 1 && digits <= kMostDigits && number.front() != '0');
    if (!plain || !absl::SimpleAtoi(number, &match.layer)) return std::nullopt;
    name.remove_suffix(digits);
  }
  if (!name.ends_with(before_)) return std::nullopt;
  name.remove_suffix(before_.size());
  if (!name.empty() && name.back() != '.') return std::nullopt;
  match.prefix = name;
  return match;
}

std::string NamePattern::Fill(std::string_view prefix, int64_t layer) const {
  std::string name = std::string(prefix) + before_;
  if (has_layer_) absl::StrAppend(&name, layer, after_);
  return name;
}

std::vector<std::string_view> WeightMapping::PresetNames() {
  return {"auto", "attnd", "torch", "bert", "gpt2", "llama"};
}

absl::StatusOr<WeightMapping> WeightMapping::Preset(std::string_view name) {
  std::vector<NamingScheme> schemes = PresetSchemes();
  if (name != "auto") {
    schemes.erase(std::remove_if(schemes.begin(), schemes.end(), [name](const auto& s) { return s.name != name; }),
                  schemes.end());
  }
  if (schemes.empty()) {
    std::vector<std::string> names;
    for (const std::string_view preset : PresetNames()) names.emplace_back(preset);
    return absl::InvalidArgumentError(
        absl::StrCat("'", std::string(name), "' is no mapping of weights; there are ", absl::StrJoin(names, ", ")));
  }
  return WeightMapping(std::move(schemes));
}

absl::StatusOr<WeightMapping> WeightMapping::FromJson(std::string_view text, const std::string& file) {
  constexpr size_t kMostBytes = size_t{1} << 20;
  if (text.size() > kMostBytes) return Bad(file, absl::StrCat("a mapping has at most ", kMostBytes, " bytes"));
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return Bad(file, "a mapping is a JSON object");
  for (const auto& [key, value] : document.items()) {
    if (key == "name" || key == "orientation" || key == "tensors") continue;
    return Bad(file, absl::StrCat("there is no '", key, "' in a mapping; there are name, orientation and tensors"));
  }
  NamingScheme scheme{.name = file, .rules = {}, .required = {}, .prefixes = false};
  const auto orientation = Text(document, "orientation", file);
  if (!orientation.ok()) return orientation.status();
  if (*orientation == "IN_OUT") scheme.orientation = Orientation::kInOut;
  if (*orientation == "OUT_IN") scheme.orientation = Orientation::kOutIn;
  if (!orientation->empty() && scheme.orientation == Orientation::kUnset) {
    return Bad(file, absl::StrCat("orientation '", *orientation, "' is neither IN_OUT nor OUT_IN"));
  }
  if (absl::Status s = ReadTensors(document, file, scheme); !s.ok()) return s;
  if (absl::Status s = ReadAlias(document, file, scheme); !s.ok()) return s;
  // What a mapping names, its layers have.
  for (const WeightRule& rule : scheme.rules) scheme.required.push_back(rule.role);
  std::vector<NamingScheme> schemes;
  schemes.push_back(std::move(scheme));
  return WeightMapping(std::move(schemes));
}

absl::StatusOr<WeightMapping> WeightMapping::FromPresetOrFile(const std::string& preset_or_path) {
  auto preset = Preset(preset_or_path);
  if (preset.ok()) return preset;
  if (!preset_or_path.ends_with(".json")) return preset.status();
  const auto contents = ReadFile(preset_or_path);
  if (!contents.ok()) return contents.status();
  const auto bytes = contents->bytes();
  return FromJson({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, preset_or_path);
}

}  // namespace attnd
