#include "client/load/mix.h"

#include <yaml-cpp/yaml.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/load/presets.h"
#include "core/runtime/file.h"

namespace attnd::load {
namespace {

// Reads a document. Lives while it is read; YAML's exceptions pass through it.
class MixReader {
 public:
  explicit MixReader(std::string name) : name_(std::move(name)) {}

  absl::StatusOr<std::vector<WorkShape>> Read(const YAML::Node& document) const {
    if (!document.IsMap()) return Wrong(document, "", absl::StrCat(Describe(document), ", not a map with works"));
    std::vector<WorkShape> shapes;
    std::set<std::string> seen;
    for (const auto& entry : document) {
      const std::string key = entry.first.Scalar();
      if (key != "works") return Wrong(entry.first, "", absl::StrCat("no key '", key, "' is known; there is works"));
      if (!seen.insert(key).second) return Wrong(entry.first, "works", "is there twice");
      if (!entry.second.IsSequence() || entry.second.size() == 0) {
        return Wrong(entry.second, "works", absl::StrCat(Describe(entry.second), ", not a list of at least one work"));
      }
      for (size_t i = 0; i < entry.second.size(); ++i) {
        auto shape = ReadWork(entry.second[i], absl::StrCat("works[", i, "]"));
        if (!shape.ok()) return shape.status();
        shapes.push_back(*std::move(shape));
      }
    }
    if (shapes.empty()) return Wrong(document, "", "no works");
    return shapes;
  }

  // `line` counts from 0; -1: nowhere.
  [[nodiscard]] absl::Status Wrong(int line, const std::string& where, const std::string& problem) const {
    const std::string place = line < 0 ? name_ : absl::StrCat(name_, ":", line + 1);
    return absl::InvalidArgumentError(absl::StrCat(place, ": ", where, where.empty() ? "" : ": ", problem));
  }

 private:
  [[nodiscard]] absl::Status Wrong(const YAML::Node& node, const std::string& where, const std::string& problem) const {
    return Wrong(node.Mark().line, where, problem);
  }

  static std::string Describe(const YAML::Node& node) {
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return absl::StrCat("'", node.Scalar(), "'");
      case YAML::NodeType::Sequence:
        return node.size() == 0 ? "an empty list" : "a list";
      case YAML::NodeType::Map:
        return "a map";
      default:
        return "nothing";
    }
  }

  [[nodiscard]] absl::StatusOr<WorkShape> ReadWork(const YAML::Node& work, const std::string& where) const {
    if (!work.IsMap()) return Wrong(work, where, absl::StrCat(Describe(work), ", not a map"));
    auto base = ReadBase(work, where);
    if (!base.ok()) return base;
    WorkShape shape = *std::move(base);
    std::set<std::string> seen;
    for (const auto& entry : work) {
      const std::string key = entry.first.Scalar();
      if (!seen.insert(key).second) return Wrong(entry.first, absl::StrCat(where, ".", key), "is there twice");
      if (key == "preset" || key == "case") continue;
      if (absl::Status status = ReadKey(entry.first, entry.second, where, &shape); !status.ok()) return status;
    }
    if (seen.contains("q_len") && seen.contains("packed")) {
      return Wrong(work["q_len"], where + ".q_len", "does not go with packed, which says the lengths");
    }
    if (absl::Status status = CheckShape(shape); !status.ok()) {
      return Wrong(work.Mark().line, "", absl::StrCat(where, ".", std::string(status.message())));
    }
    return shape;
  }

  // What the keys of a work change.
  [[nodiscard]] absl::StatusOr<WorkShape> ReadBase(const YAML::Node& work, const std::string& where) const {
    WorkShape shape;
    const YAML::Node preset = work["preset"];
    const YAML::Node file = work["case"];
    if (preset.IsDefined() && file.IsDefined()) return Wrong(file, where + ".case", "does not go with a preset");
    if (preset.IsDefined()) {
      auto known = preset.IsScalar() ? ShapeOfPreset(preset.Scalar()) : std::nullopt;
      if (!known.has_value()) {
        return Wrong(preset, where + ".preset",
                     absl::StrCat(Describe(preset), " is not known; there are ", PresetNames()));
      }
      shape = *std::move(known);
    }
    if (file.IsDefined()) {
      if (!file.IsScalar() || file.Scalar().empty()) {
        return Wrong(file, where + ".case", absl::StrCat(Describe(file), ", not the path of a .safetensors file"));
      }
      shape.case_file = file.Scalar();
      shape.name = "case";
    }
    return shape;
  }

  [[nodiscard]] absl::Status ReadKey(const YAML::Node& key, const YAML::Node& value, const std::string& where,
                                     WorkShape* shape) const {
    const std::string& name = key.Scalar();
    const ShapeField* field = FindShapeField(name);
    auto* read = field == nullptr ? nullptr : field->read;
    if (name == "name") read = ReadName;
    if (name == "weight") read = ReadWeight;
    if (read == nullptr) return Wrong(key, where, absl::StrCat("no key '", name, "' is known; there are ", Keys()));
    const std::string at = absl::StrCat(where, ".", name);
    if (!shape->case_file.empty() && name != "name" && name != "weight" && name != "weights") {
      return Wrong(key, at, "does not go with a case, which says it all");
    }
    // A value that is not there is nowhere.
    auto text = TextOf(value.IsNull() ? key : value, value, at);
    if (!text.ok()) return text.status();
    if (absl::Status status = read(*text, shape); !status.ok()) return Wrong(value, at, std::string(status.message()));
    return absl::OkStatus();
  }

  // Of a list, its elements with commas between them.
  [[nodiscard]] absl::StatusOr<std::string> TextOf(const YAML::Node& place, const YAML::Node& value,
                                                   const std::string& where) const {
    if (value.IsScalar() && !value.Scalar().empty()) return value.Scalar();
    std::vector<std::string> parts;
    if (value.IsSequence()) {
      for (const YAML::Node& part : value) {
        if (part.IsScalar()) parts.push_back(part.Scalar());
      }
    }
    if (!parts.empty() && parts.size() == value.size()) return absl::StrJoin(parts, ",");
    return Wrong(place, where, absl::StrCat(Describe(value), ", not a value"));
  }

  static std::string Keys() {
    std::string keys = "name, weight, preset, case";
    for (const ShapeField& field : ShapeFields()) absl::StrAppend(&keys, ", ", field.name);
    return keys;
  }

  const std::string name_;
};

}  // namespace

absl::StatusOr<std::vector<WorkShape>> ParseMix(const std::string& contents, const std::string& name) {
  const MixReader reader(name);
  try {
    return reader.Read(YAML::Load(contents));
  } catch (const YAML::Exception& problem) {
    return reader.Wrong(problem.mark.line, "", problem.msg);
  }
}

absl::StatusOr<std::vector<WorkShape>> ReadMix(const std::string& path) {
  const auto contents = ReadFile(path);
  if (!contents.ok()) return contents.status();
  const auto bytes = contents->bytes();
  return ParseMix(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path);
}

}  // namespace attnd::load
