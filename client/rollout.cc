#include "client/rollout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/attention/tensor.h"

namespace attnd {
namespace {

// Rows of a product that are computed together, so that the right factor is read once for
// all of them.
constexpr size_t kRowsAtOnce = 16;

absl::Status BadLayer(int64_t number, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat("rollout: layer ", number, ": ", problem));
}

absl::Status CheckLayer(std::span<const RolloutLayer> layers, size_t index) {
  const RolloutLayer& layer = layers[index];
  const int64_t number = layer.number.value_or(static_cast<int64_t>(index));
  if (layer.heads < 1 || layer.len < 1) return BadLayer(number, "has no weights");
  if (layer.len != layers.front().len) {
    return BadLayer(number, absl::StrCat("has length ", layer.len, ", the first one ", layers.front().len));
  }
  const auto count = Product(std::array{layer.heads, layer.len, layer.len});
  if (!count.has_value() || static_cast<size_t>(*count) != layer.weights.size()) {
    return BadLayer(number, absl::StrCat(layer.weights.size(), " weights are not ", layer.heads, " heads of ",
                                         layer.len, " x ", layer.len));
  }
  const bool fit = std::all_of(layer.weights.begin(), layer.weights.end(),
                               [](double weight) { return weight >= 0 && std::isfinite(weight); });
  return fit ? absl::OkStatus() : BadLayer(number, "a weight is negative or not finite");
}

// The mean over the heads with the residual connection, rows summing to 1.
std::vector<double> Mixed(const RolloutLayer& layer) {
  const auto len = static_cast<size_t>(layer.len);
  std::vector<double> mixed(len * len);
  for (size_t i = 0; i < layer.weights.size(); ++i) mixed[i % mixed.size()] += layer.weights[i];
  for (size_t row = 0; row < len; ++row) {
    const std::span<double> weights(mixed.data() + row * len, len);
    double sum = 0;
    for (size_t column = 0; column < len; ++column) {
      weights[column] = 0.5 * weights[column] / static_cast<double>(layer.heads) + (row == column ? 0.5 : 0);
      sum += weights[column];
    }
    for (double& weight : weights) weight /= sum;
  }
  return mixed;
}

std::vector<double> Times(const std::vector<double>& left, const std::vector<double>& right, size_t len) {
  std::vector<double> product(len * len);
  for (size_t begin = 0; begin < len; begin += kRowsAtOnce) {
    const size_t end = std::min(begin + kRowsAtOnce, len);
    for (size_t k = 0; k < len; ++k) {
      for (size_t row = begin; row < end; ++row) {
        const double factor = left[row * len + k];
        // Half of them, where attention is causal.
        if (factor == 0) continue;
        for (size_t column = 0; column < len; ++column) {
          product[row * len + column] += factor * right[k * len + column];
        }
      }
    }
  }
  return product;
}

}  // namespace

absl::StatusOr<std::vector<double>> AttentionRollout(std::span<const RolloutLayer> layers) {
  if (layers.empty()) return absl::InvalidArgumentError("rollout: there is no layer");
  for (size_t i = 0; i < layers.size(); ++i) {
    if (auto status = CheckLayer(layers, i); !status.ok()) return status;
  }
  std::vector<double> rollout = Mixed(layers.front());
  for (const RolloutLayer& layer : layers.subspan(1)) {
    rollout = Times(Mixed(layer), rollout, static_cast<size_t>(layer.len));
  }
  return rollout;
}

}  // namespace attnd
