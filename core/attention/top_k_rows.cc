#include "core/attention/top_k_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/attention/simd_weights.h"
#include "core/attention/summaries.h"

namespace attnd {
namespace {

// Candidates are pruned when there are twice as many as wanted, and not for a few.
size_t Capacity(int64_t k) { return static_cast<size_t>(std::max<int64_t>(2 * k, 16)); }

}  // namespace

bool TopKRows::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* sums) {
  plan_ = &plan;
  data_ = &data;
  count_ = tile.row_end - tile.row_begin;
  // What rows have reserved serves the next tile.
  if (static_cast<int64_t>(rows_.size()) < count_) rows_.resize(static_cast<size_t>(count_));
  bool reported = false;
  for (int64_t r = 0; r < count_; ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile, r);
    Row& row = rows_[static_cast<size_t>(r)];
    row.at = plan.TopKAt(tile.batch, place.head, place.query);
    row.not_a_number = std::isnan(sums[r]);
    row.bound = -1;
    row.candidates.clear();
    reported = reported || row.at >= 0;
  }
  return reported;
}

void TopKRows::Prune(Row& row) const {
  const auto k = static_cast<size_t>(plan_->top_k->k);
  if (row.candidates.size() <= k) return;
  std::nth_element(row.candidates.begin(), row.candidates.begin() + static_cast<int64_t>(k) - 1, row.candidates.end(),
                   Before);
  row.candidates.resize(k);
  row.bound = row.candidates.back().weight;
}

void TopKRows::AddWeights(int64_t r, const BlockVisibility& visible, int64_t begin, int64_t end, const float* weights) {
  Row& row = rows_[static_cast<size_t>(r)];
  if (row.at < 0 || row.not_a_number) return;
  const int64_t n = end - begin;
  for (int64_t i = 0; i < n; ++i) {
    // Before there are enough, every key is one.
    if (row.bound >= 0) i = simd::FirstAbove(weights, i, n, row.bound);
    if (i == n) break;
    if (weights[i] == 0 && !visible.Sees(r, i)) continue;
    row.candidates.push_back({weights[i], begin + i});
    if (row.candidates.size() == Capacity(plan_->top_k->k)) Prune(row);
  }
}

void TopKRows::End() {
  const int64_t k = plan_->top_k->k;
  for (int64_t r = 0; r < count_; ++r) {
    Row& row = rows_[static_cast<size_t>(r)];
    if (row.at < 0) continue;
    float* weights = data_->summaries->top_weights + row.at;
    if (row.not_a_number) {
      std::fill(weights, weights + k, std::numeric_limits<float>::quiet_NaN());
      continue;
    }
    Prune(row);
    std::sort(row.candidates.begin(), row.candidates.end(), Before);
    for (size_t i = 0; i < row.candidates.size(); ++i) {
      weights[i] = row.candidates[i].weight;
      data_->summaries->top_keys[row.at + static_cast<int64_t>(i)] = row.candidates[i].key;
    }
    constexpr size_t kWorthKeeping = 4096;
    if (row.candidates.capacity() > kWorthKeeping) std::vector<Candidate>().swap(row.candidates);
  }
}

}  // namespace attnd
