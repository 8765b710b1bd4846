// Which pairs of a file's weights are visible: weights alone do not tell a hidden key from one
// that weighs nothing.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_VISIBILITY_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_VISIBILITY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "client/attnctl/heatmap/weights_array.h"

namespace attnd::attnctl {

// What flags say.
struct VisibilityFlags {
  // As the option `causal` of cases; unset for a file's metadata "causal" with
  // "prefix_lengths", if any.
  std::optional<std::string> causal;
  // Weights that are 0 are hidden.
  bool zeros_hidden = false;
};

// From one element of a tensor to the next of a dimension, in elements; 0 where it has one.
struct VisibleStrides {
  int64_t layer = 0;
  int64_t batch = 0;
  int64_t head = 0;
  int64_t query = 0;
  int64_t key = 0;
};

// Thread-compatible.
class WeightsVisibility {
 public:
  // Goes by a tensor "visible" or "explain.visible" of the same shape, or of its last
  // dimensions, each of them or 1, if the file has one; and by the flags. The array must
  // outlive it. Fails if the tensor does not fit, or if `causal` is no place.
  static absl::StatusOr<WeightsVisibility> Make(const WeightsArray& array, const VisibilityFlags& flags);

  // Position of query 0 if key 0 is at 0; nothing if nobody knows.
  [[nodiscard]] std::optional<int64_t> offset() const { return offset_; }
  // Whether no key after the query is visible.
  [[nodiscard]] bool causal() const { return causal_ && prefix_ <= 0; }

  // Says of each key whether it is visible, and makes the weights of the others 0. Both may be
  // of the first keys only.
  void Apply(int64_t layer, int64_t head, int64_t query, std::span<double> weights, std::span<uint8_t> visible) const;

 private:
  const WeightsArray* array_ = nullptr;
  const StoredTensor* tensor_ = nullptr;
  VisibleStrides strides_;
  bool zeros_hidden_ = false;
  bool causal_ = false;
  // Keys that causal_ does not hide.
  int64_t prefix_ = 0;
  std::optional<int64_t> offset_;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_VISIBILITY_H_
