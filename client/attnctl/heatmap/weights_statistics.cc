#include "client/attnctl/heatmap/weights_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

namespace attnd::attnctl {
namespace {

// The contract's default.
constexpr int64_t kWindow = 4;

double Entropy(const WeightsRow& row) {
  double entropy = 0;
  for (const double weight : row.weights) {
    if (weight > 0) entropy -= weight * std::log(weight);
  }
  return entropy;
}

}  // namespace

WeightsStatistics::WeightsStatistics(int64_t kv_len, std::optional<int64_t> offset)
    : offset_(offset), columns_(static_cast<size_t>(kv_len)) {}

void WeightsStatistics::Add(int64_t query, const WeightsRow& row) {
  // NaN makes the sum NaN.
  const double sum = std::accumulate(row.weights.begin(), row.weights.end(), 0.0);
  if (!std::isfinite(sum) || sum <= 0) return;
  const auto visible = std::count_if(row.visible.begin(), row.visible.end(), [](uint8_t v) { return v != 0; });
  ++rows_;
  const double entropy = Entropy(row);
  entropy_ += entropy;
  entropy_of_sum_ += entropy / sum + std::log(sum);
  largest_entropy_ += std::log(static_cast<double>(visible));
  for (size_t key = 0; key < columns_.size(); ++key) columns_[key] += row.weights[key];
  if (offset_.has_value()) AddPositions(query + *offset_, row, visible);
}

void WeightsStatistics::AddPositions(int64_t position, const WeightsRow& row, int64_t visible) {
  const auto kv_len = static_cast<int64_t>(columns_.size());
  const auto at = [&](int64_t key) { return key >= 0 && key < kv_len ? row.weights[static_cast<size_t>(key)] : 0; };
  masses_.self += at(position);
  masses_.previous += at(position - 1);
  masses_.next += at(position + 1);
  int64_t near = 0;
  for (int64_t key = std::max<int64_t>(position - kWindow, 0); key <= std::min(position + kWindow, kv_len - 1); ++key) {
    masses_.window += at(key);
    if (row.visible[static_cast<size_t>(key)] != 0) ++near;
  }
  masses_.window_share += static_cast<double>(near) / static_cast<double>(visible);
}

HeadFindings WeightsStatistics::Find() const {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  if (rows_ == 0) return {ClassifyHead({.empty = true}), kUnknown, kUnknown};
  const auto rows = static_cast<double>(rows_);
  const auto strongest = std::max_element(columns_.begin(), columns_.end());
  PatternMasses means = masses_;
  for (double* mass : {&means.self, &means.previous, &means.next, &means.window, &means.window_share}) *mass /= rows;
  means.column = *strongest / rows;
  means.column_is_first = strongest == columns_.begin();
  means.evenness = largest_entropy_ > 0 ? entropy_of_sum_ / largest_entropy_ : 1;
  return {ClassifyHead(means), entropy_ / rows, means.evenness};
}

}  // namespace attnd::attnctl
