// The parts of results.h that write files.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/results.h"
#include "client/npy.h"
#include "core/attention/diagnostics.h"
#include "core/attention/simd_rows.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {
namespace {

// A tensor in its own type, and the bytes it then has.
class Stored {
 public:
  explicit Stored(const codec::ReplyTensor& tensor)
      : dtype_(tensor.dtype),
        shape_(tensor.shape),
        bytes_(tensor.values.size() * static_cast<size_t>(ElementBytes(tensor.dtype))) {
    simd::StoreRow(tensor.values.data(), static_cast<int64_t>(tensor.values.size()), dtype_, bytes_.data());
  }

  [[nodiscard]] StoredTensor As(const std::string& name) const { return {name, type(), shape_, bytes_}; }

 private:
  [[nodiscard]] StoredType type() const {
    if (dtype_ == DataType::kFloat16) return StoredType::kF16;
    return dtype_ == DataType::kBfloat16 ? StoredType::kBf16 : StoredType::kF32;
  }

  DataType dtype_;
  std::vector<int64_t> shape_;
  std::vector<std::byte> bytes_;
};

// Tensors on their way into a file.
class ResultFile {
 public:
  void Add(const std::string& name, const codec::ReplyTensor& tensor) {
    tensors_.push_back(stored_.emplace_back(tensor).As(name));
  }

  // `keys` must outlive this.
  void AddKeys(const std::string& name, const std::vector<int64_t>& shape, const std::vector<int64_t>& keys) {
    tensors_.push_back({name, StoredType::kI64, shape, std::as_bytes(std::span(keys))});
  }

  [[nodiscard]] absl::Status Write(const std::string& path, const Notes& metadata) const {
    return WriteSafetensors(path, tensors_, metadata);
  }

 private:
  // Where they are does not change: tensors_ refer to them.
  std::deque<Stored> stored_;
  std::vector<StoredTensor> tensors_;
};

void AddStatistics(const std::string& prefix, const codec::StatisticsReply& statistics, ResultFile* file) {
  for (size_t i = 0; i < statistics.size(); ++i) {
    file->Add(absl::StrCat(prefix, std::string(NameOf(static_cast<Statistic>(i)))), statistics[i]);
  }
}

void AddDiagnostics(const codec::DiagnosticsReply& diagnostics, ResultFile* file) {
  AddStatistics("diagnostics.", diagnostics.heads, file);
  if (diagnostics.rows.has_value()) AddStatistics("diagnostics.rows.", *diagnostics.rows, file);
  file->Add("diagnostics.column_mass", diagnostics.column_mass);
  file->AddKeys("diagnostics.column_keys", diagnostics.column_mass.shape, diagnostics.column_keys);
  file->Add("diagnostics.pattern_scores", diagnostics.pattern_scores);
}

bool IsNpy(std::string_view path) { return path.ends_with(".npy"); }

}  // namespace

absl::Status CheckOutputPath(const std::string& path, const AttentionOutputs& outputs, bool explain) {
  if (path.empty() || path.ends_with(".safetensors")) return absl::OkStatus();
  if (!IsNpy(path)) {
    return absl::InvalidArgumentError(absl::StrCat("--output: '", path, "' ends in neither .npy nor .safetensors"));
  }
  if (explain || outputs.lse || outputs.weights.has_value() || outputs.scores.has_value() ||
      outputs.top_k.has_value() || outputs.diagnostics.has_value() || outputs.heatmap.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--output: '", path, "' holds one array; for more than the output use .safetensors"));
  }
  if (outputs.dtype != DataType::kBfloat16) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--output: '", path, "' cannot hold bfloat16; use .safetensors, or --output-dtype float32"));
}

absl::Status WriteReply(const std::string& path, const codec::AttendReply& reply, const Explained& explained,
                        const Notes& notes) {
  if (IsNpy(path)) return WriteNpy(path, Stored(reply.output).As("output"));
  ResultFile file;
  file.Add("output", reply.output);
  for (const auto& [name, tensor] :
       {std::pair{"lse", &reply.lse}, std::pair{"weights", &reply.weights}, std::pair{"scores", &reply.scores}}) {
    if (tensor->has_value()) file.Add(name, **tensor);
  }
  if (reply.top_k.has_value()) {
    file.Add("top_k.weights", reply.top_k->weights);
    file.AddKeys("top_k.keys", reply.top_k->weights.shape, reply.top_k->keys);
  }
  if (reply.diagnostics.has_value()) AddDiagnostics(*reply.diagnostics, &file);
  if (reply.heatmap.has_value()) {
    file.Add("heatmap.mean", reply.heatmap->mean);
    file.Add("heatmap.max", reply.heatmap->max);
  }
  for (const auto& [name, tensor] : explained) file.Add(absl::StrCat("explain.", name), tensor);
  Notes metadata = notes;
  metadata["numerics_id"] = reply.numerics_id;
  if (reply.diagnostics.has_value()) {
    metadata["diagnostics.patterns"] = absl::StrJoin(reply.diagnostics->patterns, ",");
  }
  return file.Write(path, metadata);
}

}  // namespace attnd::attnctl
