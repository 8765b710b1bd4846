#include "client/attnctl/heatmap/weights_array.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/npy.h"
#include "core/attention/simd_rows.h"
#include "core/attention/tensor.h"

namespace attnd::attnctl {
namespace {

// What other results are called, in files of ours and of others.
constexpr std::array<std::string_view, 8> kNoWeights = {"bias",  "key",    "lse",    "mask",
                                                        "query", "scores", "output", "value"};
constexpr std::array<const char*, 4> kUsualNames = {"weights", "attn", "explain.weights", "heatmap.mean"};

// What a file has, by format.
struct Opened {
  std::shared_ptr<const void> owner;
  std::vector<StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

absl::Status Bad(const std::string& where, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", problem));
}

absl::Status CheckSize(const std::string& path) {
  std::error_code unknown;
  const uint64_t size = std::filesystem::file_size(path, unknown);
  // Whoever reads it knows better why.
  if (unknown || size <= WeightsArray::kMaxFileBytes) return absl::OkStatus();
  return Bad(
      path, absl::StrFormat("%.1f GB; a picture is made of at most %.1f GB: save some layers or heads alone",
                            static_cast<double>(size) * 1e-9, static_cast<double>(WeightsArray::kMaxFileBytes) * 1e-9));
}

absl::StatusOr<Opened> OpenFile(const std::string& path) {
  const bool npy = path.ends_with(".npy");
  if (!npy && !path.ends_with(".safetensors")) {
    return Bad("--from", absl::StrCat("'", path, "' ends in neither .npy nor .safetensors"));
  }
  if (auto status = CheckSize(path); !status.ok()) return status;
  if (npy) {
    auto array = ReadNpy(path);
    if (!array.ok()) return array.status();
    return Opened{std::move(array->owner), {{"", array->dtype, array->shape, array->bytes}}, {}};
  }
  const auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();
  return Opened{file->owner(), file->tensors(), file->metadata()};
}

bool IsNumbers(StoredType dtype) {
  return dtype == StoredType::kF16 || dtype == StoredType::kBf16 || dtype == StoredType::kF32 ||
         dtype == StoredType::kF64;
}

bool MayBeWeights(const StoredTensor& tensor) {
  const std::string_view name = tensor.name;
  return IsNumbers(tensor.dtype) && tensor.shape.size() >= 2 && tensor.shape.size() <= 5 &&
         std::find(kNoWeights.begin(), kNoWeights.end(), name) == kNoWeights.end() && !name.starts_with("top_k.") &&
         !name.starts_with("diagnostics.") && !name.starts_with("explain.") && name != "heatmap.max" &&
         name != "visible";
}

std::string Listed(const std::vector<StoredTensor>& tensors, bool fitting) {
  constexpr size_t kMaxNames = 12;
  std::vector<std::string> names;
  for (const StoredTensor& tensor : tensors) {
    if (fitting && !MayBeWeights(tensor)) continue;
    names.push_back(absl::StrCat("'", tensor.name, "' ", ShapeString(tensor.shape)));
  }
  if (names.size() > kMaxNames) {
    const size_t more = names.size() - kMaxNames;
    names.resize(kMaxNames);
    names.push_back(absl::StrCat("and ", more, " more"));
  }
  return names.empty() ? "nothing" : absl::StrJoin(names, ", ");
}

const StoredTensor* FindTensor(const std::vector<StoredTensor>& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

absl::StatusOr<StoredTensor> ChooseTensor(const WeightsPlace& place, const std::vector<StoredTensor>& tensors) {
  if (!place.tensor.empty()) {
    if (const StoredTensor* named = FindTensor(tensors, place.tensor); named != nullptr) return *named;
    return Bad(place.path,
               absl::StrCat("no tensor '", place.tensor, "'; it has: ", Listed(tensors, /*fitting=*/false)));
  }
  if (place.path.ends_with(".npy")) return tensors.front();
  for (const char* name : kUsualNames) {
    if (const StoredTensor* usual = FindTensor(tensors, name); usual != nullptr) return *usual;
  }
  const auto count = std::count_if(tensors.begin(), tensors.end(), MayBeWeights);
  if (count == 1) return *std::find_if(tensors.begin(), tensors.end(), MayBeWeights);
  if (count > 1) {
    return Bad(place.path, absl::StrCat("which of these are the weights? Say it with --tensor: ",
                                        Listed(tensors, /*fitting=*/true)));
  }
  return Bad(place.path, absl::StrCat("no weights; attnctl attend writes them with --outputs weights; it has: ",
                                      Listed(tensors, /*fitting=*/false)));
}

std::string TitleOf(const std::string& path, const StoredTensor& tensor) {
  if (path.ends_with(".npy")) return absl::StrCat(path, ": array ", ShapeString(tensor.shape));
  return absl::StrCat(path, ": tensor '", tensor.name, "' ", ShapeString(tensor.shape));
}

DataType DataTypeOf(StoredType dtype) {
  if (dtype == StoredType::kF16) return DataType::kFloat16;
  return dtype == StoredType::kBf16 ? DataType::kBfloat16 : DataType::kFloat32;
}

}  // namespace

void ReadNumbersAt(const StoredTensor& tensor, int64_t at, std::span<double> numbers) {
  const size_t size = StoredTypeSize(tensor.dtype);
  const std::byte* from = tensor.bytes.data() + static_cast<size_t>(at) * size;
  if (tensor.dtype == StoredType::kF64) {
    std::memcpy(numbers.data(), from, numbers.size_bytes());
    return;
  }
  std::array<float, 1024> floats;
  while (!numbers.empty()) {
    const size_t n = std::min(numbers.size(), floats.size());
    simd::LoadRow(from, DataTypeOf(tensor.dtype), static_cast<int64_t>(n), floats.data());
    std::copy_n(floats.begin(), n, numbers.begin());
    numbers = numbers.subspan(n);
    from += n * size;
  }
}

absl::StatusOr<WeightsArray> WeightsArray::Open(const WeightsPlace& place) {
  auto opened = OpenFile(place.path);
  if (!opened.ok()) return opened.status();
  auto tensor = ChooseTensor(place, opened->tensors);
  if (!tensor.ok()) return tensor.status();
  WeightsArray array;
  array.title_ = TitleOf(place.path, *tensor);
  array.tensor_ = *std::move(tensor);
  array.owner_ = std::move(opened->owner);
  array.tensors_ = std::move(opened->tensors);
  array.metadata_ = std::move(opened->metadata);
  if (auto status = array.Divide(place, array.metadata_.contains("numerics_id")); !status.ok()) return status;
  return array;
}

absl::Status WeightsArray::Divide(const WeightsPlace& place, bool ours) {
  const auto& shape = tensor_.shape;
  const size_t rank = shape.size();
  if (!IsNumbers(tensor_.dtype)) {
    return Bad(title_, absl::StrCat(StoredTypeName(tensor_.dtype),
                                    " elements; weights are float16, bfloat16, float32 or float64"));
  }
  if (rank < 2 || rank > 5) {
    return Bad(title_,
               "weights are [q, k], [heads, q, k], [layers or batch, heads, q, k] or [layers, batch, heads, q, k]");
  }
  if (std::count(shape.begin(), shape.end(), 0) > 0) return Bad(title_, "holds no weights");
  if (rank == 4 && place.batch.has_value() && place.layers) {
    return Bad(title_, "--batch and --layers: it has one of these dimensions only");
  }
  has_batch_ = rank == 5 || (rank == 4 && (place.batch.has_value() || (ours && !place.layers)));
  has_layers_ = rank == 5 || (rank == 4 && !has_batch_);
  if (!has_batch_ && place.batch.has_value()) return Bad(title_, "--batch: it has no batch");
  if (!has_layers_ && place.layers) return Bad(title_, "--layers: it has no layers");
  q_len_ = shape[rank - 2];
  kv_len_ = shape[rank - 1];
  if (rank > 2) heads_ = shape[rank - 3];
  if (has_layers_) layers_ = shape[0];
  if (has_batch_) batches_ = shape[rank - 4];
  batch_ = place.batch.value_or(0);
  if (batch_ >= 0 && batch_ < batches_) return absl::OkStatus();
  return Bad(title_, absl::StrCat("--batch: ", batch_, " is not one of its ", batches_, " entries, counted from 0"));
}

const StoredTensor* WeightsArray::Find(const std::string& name) const { return FindTensor(tensors_, name); }

int64_t WeightsArray::RowAt(int64_t layer, int64_t head, int64_t query) const {
  return (((layer * batches_ + batch_) * heads_ + head) * q_len_ + query) * kv_len_;
}

void WeightsArray::ReadRow(int64_t layer, int64_t head, int64_t query, std::span<double> row) const {
  ReadNumbersAt(tensor_, RowAt(layer, head, query), row);
}

}  // namespace attnd::attnctl
