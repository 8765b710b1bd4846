// Attention rollout: how much each token of the last layer owes to each token of the input,
// if heads are averaged and residual connections pass on half (Abnar & Zuidema,
// "Quantifying Attention Flow in Transformers", arXiv 2005.00928).
#ifndef ATTND_CLIENT_ROLLOUT_H_
#define ATTND_CLIENT_ROLLOUT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace attnd {

// The weights of a layer, [heads, len, len], row-major. Does not own them.
struct RolloutLayer {
  int64_t heads = 0;
  int64_t len = 0;
  std::span<const double> weights;
  // What errors call it; unset: its place, counted from 0.
  std::optional<int64_t> number = std::nullopt;
};

// A_n ... A_1, [len, len], for layers from the first to the last, where A is the mean over the
// heads, plus the identity, each row divided by its sum; a row of zeros (padding) thus keeps
// to itself. Takes layers * len^3 multiplications in float64. Fails with kInvalidArgument,
// naming the layer, for shapes that do not fit, for weights that are negative or not finite,
// and if there is no layer. Thread-safe.
absl::StatusOr<std::vector<double>> AttentionRollout(std::span<const RolloutLayer> layers);

}  // namespace attnd

#endif  // ATTND_CLIENT_ROLLOUT_H_
