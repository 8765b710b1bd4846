#include "client/attnctl/case.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {
namespace {

constexpr char kCatSat[] = "cat-sat";

absl::Status WithPrefix(const std::string& prefix, const absl::Status& status) {
  return {status.code(), absl::StrCat(prefix, std::string(status.message()))};
}

std::string FlagName(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

absl::Status ApplyFlags(const OptionTexts& flags, Case* result) {
  for (const auto& [name, text] : flags) {
    const absl::Status status = FindOptionRule(name)->apply(text, &result->request, &result->call);
    if (!status.ok()) return WithPrefix(FlagName(name) + ": ", status);
  }
  return absl::OkStatus();
}

// The options of a file that no flag overrules.
absl::Status ApplyMetadata(const Safetensors& file, const std::string& path, const OptionTexts& flags, Case* result) {
  for (const auto& [name, text] : file.metadata()) {
    if (flags.contains(name)) continue;
    const OptionRule* rule = FindOptionRule(name);
    if (rule == nullptr) {
      for (const absl::Status& status : {CheckNotMissed(name), CheckNoSlip(name)}) {
        if (!status.ok()) return WithPrefix(path + ": metadata ", status);
      }
      continue;
    }
    const absl::Status status = rule->apply(text, &result->request, &result->call);
    if (!status.ok()) return WithPrefix(absl::StrCat(path, ": metadata '", name, "': "), status);
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> ToTensor(StoredType dtype, const std::vector<int64_t>& shape,
                                    std::span<const std::byte> bytes, const std::string& where) {
  TensorView tensor{DataType::kFloat32, shape, Fragments(bytes)};
  switch (dtype) {
    case StoredType::kF32:
      return tensor;
    case StoredType::kF16:
      tensor.dtype = DataType::kFloat16;
      return tensor;
    case StoredType::kBf16:
      tensor.dtype = DataType::kBfloat16;
      return tensor;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", StoredTypeName(dtype), " elements; save it as float32 (array.astype('float32'))"));
  }
}

// The three tensors of a request with the names they have in files.
std::array<std::pair<const char*, TensorView*>, 3> NamedTensors(AttentionRequest* request) {
  return {{{"query", &request->query}, {"key", &request->key}, {"value", &request->value}}};
}

absl::StatusOr<Case> LoadSafetensors(const CaseSource& source) {
  const std::string& path = source.input;
  const auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();

  Case result;
  std::vector<std::string> names;
  for (const StoredTensor& tensor : file->tensors()) {
    names.push_back(tensor.name);
    const absl::Status status = CheckNotMissed(tensor.name);
    if (!status.ok()) return WithPrefix(path + ": tensor ", status);
  }
  for (const auto& [name, tensor] : NamedTensors(&result.request)) {
    const StoredTensor* stored = file->Find(name);
    if (stored == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": no tensor '", name, "'; it has: ", absl::StrJoin(names, ", ")));
    }
    auto view = ToTensor(stored->dtype, stored->shape, stored->bytes, absl::StrCat(path, ": tensor '", name, "'"));
    if (!view.ok()) return view.status();
    *tensor = *std::move(view);
  }
  result.request.owner = file->owner();
  if (auto status = ApplyMetadata(*file, path, source.flags, &result); !status.ok()) return status;
  return result;
}

absl::StatusOr<Case> LoadNpyFiles(const CaseSource& source) {
  Case result;
  auto owners = std::make_shared<std::vector<std::shared_ptr<const void>>>();
  const std::array<std::string, 3> paths = {source.query, source.key, source.value};
  const auto tensors = NamedTensors(&result.request);
  for (size_t i = 0; i < paths.size(); ++i) {
    auto array = ReadNpy(paths.at(i));
    if (!array.ok()) return array.status();
    auto view = ToTensor(array->dtype, array->shape, array->bytes, paths.at(i));
    if (!view.ok()) return view.status();
    *tensors.at(i).second = *std::move(view);
    owners->push_back(std::move(array->owner));
  }
  result.request.owner = std::move(owners);
  return result;
}

// Self-attention of three tokens with three made-up features each.
Case CatSat() {
  static constexpr std::array<float, 9> kTokens = {.2F, .8F, .1F, .9F, .3F, .7F, .4F, .6F, .5F};
  Case result;
  result.title = "Self-attention of \"The cat sat\": query = key = value";
  result.tokens = {"The", "cat", "sat"};
  for (const auto& [name, tensor] : NamedTensors(&result.request)) {
    *tensor = {DataType::kFloat32, {3, 3}, Fragments(std::as_bytes(std::span(kTokens)))};
  }
  result.request.options.scale = 1;
  result.request.outputs.weights = true;
  return result;
}

absl::StatusOr<Case> LoadTensors(const CaseSource& source) {
  if (!source.example.empty()) return CatSat();
  return source.input.empty() ? LoadNpyFiles(source) : LoadSafetensors(source);
}

}  // namespace

absl::Status CheckUsage(const CaseSource& source) {
  const bool some_npy = !source.query.empty() || !source.key.empty() || !source.value.empty();
  const bool all_npy = !source.query.empty() && !source.key.empty() && !source.value.empty();
  if (static_cast<int>(!source.input.empty()) + static_cast<int>(!source.example.empty()) +
          static_cast<int>(some_npy) !=
      1) {
    return absl::InvalidArgumentError(
        "give one of --input FILE, --example NAME, or --query FILE --key FILE --value FILE");
  }
  if (some_npy && !all_npy) return absl::InvalidArgumentError("--query, --key and --value go together");
  if (!source.example.empty() && source.example != kCatSat) {
    return absl::InvalidArgumentError(
        absl::StrCat("--example: '", source.example, "' is not known; there is ", kCatSat));
  }
  Case scratch;
  return ApplyFlags(source.flags, &scratch);
}

absl::StatusOr<Case> LoadCase(const CaseSource& source) {
  auto result = LoadTensors(source);
  if (!result.ok()) return result;
  if (auto status = ApplyFlags(source.flags, &*result); !status.ok()) return status;
  return result;
}

}  // namespace attnd::attnctl
