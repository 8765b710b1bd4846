#include "client/attnctl/heatmap/weights_pool.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace attnd::attnctl {
namespace {

// Where cell `i` of `n` begins.
int64_t Begin(int64_t i, int64_t n, int64_t len) { return i * len / n; }

}  // namespace

WeightsPool::WeightsPool(int64_t q_len, int64_t kv_len, int64_t cells)
    : q_len_(q_len),
      kv_len_(kv_len),
      rows_(std::min(q_len, cells)),
      columns_(std::min(kv_len, cells)),
      sums_(static_cast<size_t>(rows_ * columns_)),
      largest_(sums_.size()),
      pairs_(sums_.size()) {
  for (int64_t row = 0; row < rows_; ++row) row_of_.resize(static_cast<size_t>(Begin(row + 1, rows_, q_len)), row);
  for (int64_t column = 0; column <= columns_; ++column) begins_.push_back(Begin(column, columns_, kv_len));
}

void WeightsPool::AddToCell(int64_t cell, const WeightsRow& row, int64_t begin, int64_t end) {
  const auto at = static_cast<size_t>(cell);
  for (auto key = static_cast<size_t>(begin); key < static_cast<size_t>(end); ++key) {
    if (row.visible[key] == 0) continue;
    sums_[at] += row.weights[key];
    largest_[at] = std::max(largest_[at], row.weights[key]);
    ++pairs_[at];
  }
}

void WeightsPool::Add(int64_t query, const WeightsRow& row) {
  if (HasNan(row)) return;
  const int64_t first = row_of_[static_cast<size_t>(query)] * columns_;
  for (int64_t column = 0; column < columns_; ++column) {
    const auto at = static_cast<size_t>(column);
    AddToCell(first + column, row, begins_[at], begins_[at + 1]);
  }
}

void WeightsPool::Finish(picture::HeadMap* head) const {
  constexpr float kHidden = std::numeric_limits<float>::quiet_NaN();
  const bool single = rows_ == q_len_ && columns_ == kv_len_;
  head->rows = rows_;
  head->columns = columns_;
  head->mean.assign(sums_.size(), kHidden);
  head->max.assign(single ? 0 : sums_.size(), kHidden);
  for (size_t i = 0; i < sums_.size(); ++i) {
    if (pairs_[i] == 0) continue;
    head->mean[i] = static_cast<float>(sums_[i] / static_cast<double>(pairs_[i]));
    if (!single) head->max[i] = static_cast<float>(largest_[i]);
  }
}

}  // namespace attnd::attnctl
