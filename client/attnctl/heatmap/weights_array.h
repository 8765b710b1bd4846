// Attention weights in a file, of some layers and heads.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_ARRAY_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_ARRAY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {

// Where weights are, by the flags of attnctl heatmap.
struct WeightsPlace {
  // A .npy or .safetensors file.
  std::string path;
  // Of a .safetensors file; empty for "weights", "attn", or the only one that can be meant.
  std::string tensor;
  // Which entry of a dimension `batch`; what says that there is one where it is not clear.
  std::optional<int64_t> batch;
  // Says that there is a dimension `layers` where it is not clear.
  bool layers = false;
};

// Weights [layers, heads, q_len, kv_len] of one batch entry. Thread-compatible.
class WeightsArray {
 public:
  // Largest file that is read, in bytes.
  static constexpr uint64_t kMaxFileBytes = uint64_t{2} << 30;

  // Reads the file. A tensor of numbers of rank 2 is [q_len, kv_len], of 3 [heads, ...], of 5
  // [layers, batch, heads, ...]; of 4 [layers, heads, ...], or [batch, heads, ...] if the place
  // says so or attnctl wrote the file. Errors name the file and the tensor, or the flag.
  static absl::StatusOr<WeightsArray> Open(const WeightsPlace& place);

  // How errors call it: "FILE: tensor 'attn' [6, 12, 14, 14]".
  [[nodiscard]] const std::string& title() const { return title_; }
  // "attn", or nothing in a .npy file.
  [[nodiscard]] const std::string& name() const { return tensor_.name; }
  // Whether there is such a dimension.
  [[nodiscard]] bool has_layers() const { return has_layers_; }
  [[nodiscard]] bool has_batch() const { return has_batch_; }
  [[nodiscard]] int64_t layers() const { return layers_; }
  [[nodiscard]] int64_t batches() const { return batches_; }
  // The entry that is read.
  [[nodiscard]] int64_t batch() const { return batch_; }
  [[nodiscard]] int64_t heads() const { return heads_; }
  [[nodiscard]] int64_t q_len() const { return q_len_; }
  [[nodiscard]] int64_t kv_len() const { return kv_len_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Of the same file; nullptr if there is none of that name.
  [[nodiscard]] const StoredTensor* Find(const std::string& name) const;

  // The row's weights. REQUIRES: indices are in range; `row` has kv_len elements.
  void ReadRow(int64_t layer, int64_t head, int64_t query, std::span<double> row) const;

  // Where the row begins in a tensor of the same shape, in elements.
  [[nodiscard]] int64_t RowAt(int64_t layer, int64_t head, int64_t query) const;

 private:
  absl::Status Divide(const WeightsPlace& place, bool ours);

  std::shared_ptr<const void> owner_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  StoredTensor tensor_;
  std::string title_;
  bool has_layers_ = false;
  bool has_batch_ = false;
  int64_t layers_ = 1;
  int64_t batches_ = 1;
  int64_t batch_ = 0;
  int64_t heads_ = 1;
  int64_t q_len_ = 0;
  int64_t kv_len_ = 0;
};

// Elements `at` to at + numbers.size() of a tensor of numbers.
// REQUIRES: it is F16, BF16, F32 or F64, and has them.
void ReadNumbersAt(const StoredTensor& tensor, int64_t at, std::span<double> numbers);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_ARRAY_H_
