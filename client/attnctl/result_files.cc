// The parts of results.h that write files.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/attnctl/results.h"
#include "client/npy.h"
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

bool IsNpy(std::string_view path) { return path.ends_with(".npy"); }

}  // namespace

absl::Status CheckOutputPath(const std::string& path, const AttentionOutputs& outputs, bool explain) {
  if (path.empty() || path.ends_with(".safetensors")) return absl::OkStatus();
  if (!IsNpy(path)) {
    return absl::InvalidArgumentError(absl::StrCat("--output: '", path, "' ends in neither .npy nor .safetensors"));
  }
  if (explain || outputs.lse || outputs.weights.has_value() || outputs.scores.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--output: '", path, "' holds one array; for more than the output use .safetensors"));
  }
  if (outputs.dtype != DataType::kBfloat16) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--output: '", path, "' cannot hold bfloat16; use .safetensors, or --output-dtype float32"));
}

absl::Status WriteReply(const std::string& path, const codec::AttendReply& reply, const Explained& explained) {
  const Stored output(reply.output);
  if (IsNpy(path)) return WriteNpy(path, output.As("output"));
  std::vector<StoredTensor> tensors = {output.As("output")};
  // Reserved, so that tensors may refer to them.
  std::vector<Stored> more;
  more.reserve(3 + explained.size());
  for (const auto& [name, tensor] :
       {std::pair{"lse", &reply.lse}, std::pair{"weights", &reply.weights}, std::pair{"scores", &reply.scores}}) {
    if (tensor->has_value()) tensors.push_back(more.emplace_back(**tensor).As(name));
  }
  for (const auto& [name, tensor] : explained) {
    tensors.push_back(more.emplace_back(tensor).As(absl::StrCat("explain.", name)));
  }
  return WriteSafetensors(path, tensors, {{"numerics_id", reply.numerics_id}});
}

}  // namespace attnd::attnctl
