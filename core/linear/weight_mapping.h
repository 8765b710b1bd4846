// From tensors of files, as models name them, to weights by role.
#ifndef ATTND_CORE_LINEAR_WEIGHT_MAPPING_H_
#define ATTND_CORE_LINEAR_WEIGHT_MAPPING_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/linear/projection_weights.h"
#include "core/linear/safetensors.h"

namespace attnd {

// A tensor's name, with "{layer}" where the layer's number is, at most once.
class NamePattern {
 public:
  explicit NamePattern(std::string_view pattern);

  struct Match {
    std::string_view prefix;
    // -1 without "{layer}".
    int64_t layer = -1;
  };
  // If `name` is the pattern behind a prefix that is empty or ends with '.'.
  [[nodiscard]] std::optional<Match> Find(std::string_view name) const;
  // The name that matches.
  [[nodiscard]] std::string Fill(std::string_view prefix, int64_t layer) const;
  [[nodiscard]] bool has_layer() const { return has_layer_; }

 private:
  std::string before_;
  std::string after_;
  bool has_layer_ = false;
};

// Which tensor is which.
struct WeightRule {
  WeightRole role;
  NamePattern name;
};

// One way to name the tensors of a layer.
struct NamingScheme {
  // "bert", or what a file says.
  std::string name;
  // kUnset: what the file's metadata says under "orientation".
  Orientation orientation = Orientation::kUnset;
  std::vector<WeightRule> rules;
  // Without these roles a layer is incomplete; one that has none of them is none.
  std::vector<WeightRole> required;
  // Whether there may be something before the names, such as "bert.".
  bool prefixes = true;
  // Layers that have one of these are of another kind, which the roles do not describe.
  std::vector<NamePattern> foreign = {};
  // What the weights of a layer are called, with "{layer}"; empty: by name.
  std::string alias = {};
};

// The schemes to try, in order. A tensor goes to the first that makes a layer with it.
// Immutable, so thread-safe.
class WeightMapping {
 public:
  // "attnd", "torch", "bert", "gpt2", "llama", or "auto", which is any of them.
  static absl::StatusOr<WeightMapping> Preset(std::string_view name);
  static std::vector<std::string_view> PresetNames();

  // Reads {"name": "my.layer.{layer}", "orientation": "OUT_IN", "tensors": {"w_query":
  // "encoder.{layer}.q.weight", ...}}. "name" is what the weights are called, by default
  // after the file; without "orientation" the files' metadata must have it. Errors are
  // kInvalidArgument and name `file`.
  static absl::StatusOr<WeightMapping> FromJson(std::string_view text, const std::string& file);

  // A preset, or else a JSON file.
  static absl::StatusOr<WeightMapping> FromPresetOrFile(const std::string& preset_or_path);

  [[nodiscard]] const std::vector<NamingScheme>& schemes() const { return schemes_; }

 private:
  explicit WeightMapping(std::vector<NamingScheme> schemes) : schemes_(std::move(schemes)) {}

  std::vector<NamingScheme> schemes_;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_WEIGHT_MAPPING_H_
