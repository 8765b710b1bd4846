#include "core/linear/weight_files.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/errors.h"
#include "core/linear/layer_finder.h"
#include "core/linear/weights_id.h"

namespace attnd {
namespace {

using Role = WeightRole;

constexpr char kExtension[] = ".safetensors";
constexpr char kOrientation[] = "orientation";

// Files whose tensors belong together.
struct Model {
  // The file's or folder's name, without extension.
  std::string stem;
  std::vector<const Safetensors*> files;
};

absl::Status Bad(const std::string& path, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", problem));
}

absl::StatusOr<std::vector<std::string>> FilesAt(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) return std::vector<std::string>{path};
  std::vector<std::string> files;
  fs::directory_iterator it(path, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (it->path().extension() == kExtension) files.push_back(it->path().string());
  }
  if (error) return Bad(path, error.message());
  if (files.empty()) return Bad(path, "there are no .safetensors files in this folder");
  std::sort(files.begin(), files.end());
  return files;
}

std::string StemOf(const std::string& path) {
  std::filesystem::path name = std::filesystem::path(path).lexically_normal();
  if (name.filename().empty()) name = name.parent_path();
  return name.extension() == kExtension ? name.stem().string() : name.filename().string();
}

bool NamesCollide(std::span<const Safetensors> files) {
  std::set<std::string_view> names;
  for (const Safetensors& file : files) {
    for (const StoredTensor& tensor : file.tensors()) {
      if (!names.insert(tensor.name).second) return true;
    }
  }
  return false;
}

// An alias of these parts, dots between them.
std::string AliasOf(std::initializer_list<std::string> parts) {
  std::string alias;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    absl::StrAppend(&alias, alias.empty() ? "" : ".", part);
  }
  for (char& c : alias) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && std::string_view("._-/:").find(c) == std::string::npos) {
      c = '_';
    }
  }
  return alias;
}

std::string WithoutDot(std::string prefix) {
  if (prefix.ends_with('.')) prefix.pop_back();
  return prefix;
}

absl::StatusOr<TensorView> ViewOf(const StoredTensor& tensor, WeightKind kind) {
  TensorView view;
  switch (tensor.dtype) {
    case StoredType::kF32:
      view.dtype = DataType::kFloat32;
      break;
    case StoredType::kF16:
      view.dtype = DataType::kFloat16;
      break;
    case StoredType::kBf16:
      view.dtype = DataType::kBfloat16;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("tensor ", QuotedName(tensor.name), " is ",
                                                     StoredTypeName(tensor.dtype), "; F32, F16 or BF16 is allowed"));
  }
  view.shape = tensor.shape;
  if (kind == WeightKind::kVector) {
    // Such as torch's bias_k, [1, 1, width].
    while (view.shape.size() > 1 && view.shape.front() == 1) view.shape.erase(view.shape.begin());
  }
  view.bytes = Fragments(tensor.bytes);
  return view;
}

absl::StatusOr<Orientation> OrientationOf(const NamingScheme& scheme, const Model& model) {
  if (scheme.orientation != Orientation::kUnset) return scheme.orientation;
  for (const Safetensors* file : model.files) {
    const auto found = file->metadata().find(kOrientation);
    if (found == file->metadata().end()) continue;
    if (found->second == "IN_OUT") return Orientation::kInOut;
    if (found->second == "OUT_IN") return Orientation::kOutIn;
    return absl::InvalidArgumentError(
        absl::StrCat("metadata 'orientation' is ", QuotedName(found->second), "; IN_OUT or OUT_IN is allowed"));
  }
  return absl::InvalidArgumentError("there is no metadata 'orientation', which must be IN_OUT or OUT_IN");
}

// torch.nn.MultiheadAttention has one bias for three matrices.
void SplitBias(ProjectionWeights& weights) {
  auto& whole = weights.tensors[Role::kQkvBias];
  if (!whole.has_value() || weights.tensors[Role::kQkv].has_value() || whole->shape.size() != 1) return;
  const auto element = static_cast<size_t>(ElementBytes(whole->dtype));
  const auto bytes = whole->bytes.empty() ? std::span<const std::byte>() : whole->bytes.pieces()[0];
  constexpr std::pair<Role, Role> kParts[] = {
      {Role::kQuery, Role::kQueryBias}, {Role::kKey, Role::kKeyBias}, {Role::kValue, Role::kValueBias}};
  ProjectionWeights split;
  size_t begin = 0;
  for (const auto& [matrix, bias] : kParts) {
    if (!weights.tensors[matrix].has_value() || weights.tensors[matrix]->shape.empty()) return;
    const auto& shape = weights.tensors[matrix]->shape;
    const int64_t out = weights.orientation == Orientation::kOutIn ? shape.front() : shape.back();
    const auto left = static_cast<int64_t>((bytes.size() - begin) / element);
    if (out < 1 || out > left) return;
    const size_t size = static_cast<size_t>(out) * element;
    split.tensors[bias] = TensorView{whole->dtype, {out}, Fragments(bytes.subspan(begin, size))};
    begin += size;
  }
  if (begin != bytes.size()) return;
  for (const auto& [matrix, bias] : kParts) weights.tensors[bias] = std::move(split.tensors[bias]);
  whole.reset();
}

// CheckWeights in terms of the file.
absl::Status CheckLayer(const FoundLayer& found, const NamedWeights& named) {
  const auto shapes = CheckWeights(named.weights, named.alias);
  if (shapes.ok()) return absl::OkStatus();
  std::string message(shapes.status().message());
  const std::string field = FieldOf(shapes.status()).value_or("");
  for (const WeightRule& rule : found.scheme->rules) {
    if (!field.starts_with(absl::StrCat(named.alias, ".", InfoOf(rule.role).name))) continue;
    const StoredTensor* tensor = found.tensors[rule.role];
    return absl::InvalidArgumentError(
        absl::StrCat(message, " (tensor ",
                     QuotedName(tensor == nullptr ? rule.name.Fill(found.prefix, found.layer) : tensor->name), ")"));
  }
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<NamedWeights> WeightsOf(const FoundLayer& found, const Model& model) {
  NamedWeights named{.alias = {}, .layer = found.layer, .weights = {}};
  const auto orientation = OrientationOf(*found.scheme, model);
  if (!orientation.ok()) return orientation.status();
  named.weights.orientation = *orientation;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const StoredTensor* tensor = found.tensors[info.role];
    if (tensor == nullptr) continue;
    auto view = ViewOf(*tensor, info.kind);
    if (!view.ok()) return view.status();
    named.weights.tensors[info.role] = *std::move(view);
  }
  SplitBias(named.weights);
  return named;
}

absl::Status MapModel(const Model& model, const WeightMapping& mapping, const std::string& name,
                      LoadedWeights& loaded) {
  std::vector<const StoredTensor*> tensors;
  for (const Safetensors* file : model.files) {
    for (const StoredTensor& tensor : file->tensors()) tensors.push_back(&tensor);
  }
  LayerFinder finder(tensors, mapping);
  const auto layers = finder.Find();
  if (!layers.ok()) return layers.status();
  std::map<const NamingScheme*, std::set<std::string>> prefixes;
  for (const FoundLayer& found : *layers) prefixes[found.scheme].insert(found.prefix);
  for (const FoundLayer& found : *layers) {
    auto named = WeightsOf(found, model);
    if (!named.ok()) return named.status();
    const bool parts = prefixes[found.scheme].size() > 1;
    if (!found.scheme->alias.empty() && name.empty()) {
      named->alias = NamePattern(found.scheme->alias).Fill("", found.layer);
    } else if (found.layer >= 0) {
      const bool preset = found.scheme->prefixes;
      named->alias = AliasOf({!name.empty() ? name
                              : preset      ? found.scheme->name
                                            : model.stem,
                              parts ? WithoutDot(found.prefix) : "", "layer", absl::StrCat(found.layer)});
    } else {
      named->alias = AliasOf({name.empty() ? model.stem : name, WithoutDot(found.prefix)});
    }
    if (absl::Status s = CheckAlias("alias", named->alias); !s.ok()) return s;
    if (absl::Status s = CheckLayer(found, *named); !s.ok()) return s;
    loaded.sets.push_back(*std::move(named));
  }
  for (std::string& left : finder.LeftOver()) loaded.passed_over.push_back(std::move(left));
  return absl::OkStatus();
}

absl::Status CheckFound(const LoadedWeights& loaded) {
  if (loaded.sets.empty()) {
    constexpr size_t kShown = 3;
    std::vector<std::string> some;
    for (size_t i = 0; i < std::min(kShown, loaded.passed_over.size()); ++i) {
      some.push_back(QuotedName(loaded.passed_over[i]));
    }
    return absl::InvalidArgumentError(absl::StrCat("the mapping recognises none of the ", loaded.passed_over.size(),
                                                   " tensors (", absl::StrJoin(some, ", "), ", ...)"));
  }
  std::set<std::string> aliases;
  for (const NamedWeights& set : loaded.sets) {
    if (!aliases.insert(set.alias).second) {
      return absl::InvalidArgumentError(absl::StrCat("two sets of weights would be called '", set.alias, "'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadedWeights> MapWeights(const std::string& path, std::vector<Safetensors> files,
                                         const std::vector<std::string>& names, const WeightMapping& mapping,
                                         const std::string& name) {
  LoadedWeights loaded;
  loaded.files = std::move(files);
  std::vector<Model> models;
  if (NamesCollide(loaded.files)) {
    for (size_t i = 0; i < loaded.files.size(); ++i) models.push_back({StemOf(names[i]), {&loaded.files[i]}});
  } else {
    Model& model = models.emplace_back(Model{StemOf(path), {}});
    for (const Safetensors& file : loaded.files) model.files.push_back(&file);
  }
  for (const Model& model : models) {
    // Several models of one name would take each other's aliases.
    const std::string model_name = models.size() == 1 ? name : AliasOf({name, model.stem});
    if (absl::Status s = MapModel(model, mapping, model_name, loaded); !s.ok()) {
      return Bad(path, std::string(s.message()));
    }
  }
  if (absl::Status s = CheckFound(loaded); !s.ok()) return Bad(path, std::string(s.message()));
  return loaded;
}

absl::StatusOr<LoadedWeights> LoadWeights(const std::string& path, const WeightMapping& mapping,
                                          const std::string& name) {
  const auto names = FilesAt(path);
  if (!names.ok()) return names.status();
  std::vector<Safetensors> files;
  for (const std::string& file : *names) {
    auto read = Safetensors::Read(file);
    if (!read.ok()) return read.status();
    files.push_back(*std::move(read));
  }
  return MapWeights(path, std::move(files), *names, mapping, name);
}

}  // namespace attnd
