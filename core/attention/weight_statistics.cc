#include "core/attention/weight_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/attention/simd_weights.h"

namespace attnd {
void WeightStatistics::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  plan_ = &plan;
  data_ = data.summaries;
  tile_ = tile;
  const int64_t first = plan.visibility.kv_begin[tile.batch];
  first_keys_ = {first, first + plan.diagnostics->first_keys};
  rows_.assign(static_cast<size_t>(tile.row_end - tile.row_begin), Row());
  for (size_t r = 0; r < rows_.size(); ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile, static_cast<int64_t>(r));
    rows_[r].position = place.query + plan.visibility.shift[tile.batch];
    rows_[r].head = place.head - tile.kv_head * plan.dims.group();
  }
  columns_.clear();
  parts_ = FixedPointOf(plan, tile.batch);
  kv_len_ = plan.keys.count[tile.batch];
  sums_.assign(static_cast<size_t>(plan.dims.group() * kv_len_), 0);
}

void WeightStatistics::PassOverNan(const float* sums) {
  for (size_t r = 0; r < rows_.size(); ++r) rows_[r].passed_over = std::isnan(sums[r]);
}

KeyRange WeightStatistics::WindowOf(const Row& row) const {
  const int64_t window = plan_->diagnostics->window;
  return {row.position - window, row.position + window + 1};
}

void WeightStatistics::AddVisible(int64_t r, const BlockVisibility& visible, int64_t visible_row, int64_t begin,
                                  int64_t end) {
  Row& row = rows_[static_cast<size_t>(r)];
  const KeyRange near = WindowOf(row).Intersect({begin, end});
  row.visible += visible.CountVisible(visible_row, {0, end - begin});
  if (!near.empty()) row.in_window += visible.CountVisible(visible_row, {near.begin - begin, near.end - begin});
}

void WeightStatistics::AddVisible(int64_t r, KeyRange keys) {
  Row& row = rows_[static_cast<size_t>(r)];
  row.visible += keys.size();
  row.in_window += WindowOf(row).Intersect(keys).size();
}

float* WeightStatistics::Columns(int64_t begin, int64_t end) {
  if (columns_.empty()) {
    columns_stride_ = end - begin;
    columns_.assign(static_cast<size_t>(plan_->dims.group() * columns_stride_), 0.0F);
  }
  return columns_.data();
}

void WeightStatistics::AddWeights(int64_t r, int64_t begin, int64_t end, const float* weights) {
  const Row& row = rows_[static_cast<size_t>(r)];
  if (row.passed_over) return;
  float* columns = Columns(begin, end) + row.head * columns_stride_;
  AddSums(r, simd::SumWeights(weights, end - begin, row.position - begin, columns));
  AddPlaces(r, begin, end, weights, 1, 1);
}

void WeightStatistics::AddSums(int64_t r, const simd::WeightSums& sums) {
  Row& row = rows_[static_cast<size_t>(r)];
  row.total += static_cast<double>(sums.total);
  row.distance += static_cast<double>(sums.distance);
  row.largest = std::max(row.largest, sums.largest);
}

void WeightStatistics::AddPlaces(int64_t r, int64_t begin, int64_t end, const float* p, int64_t stride, float factor) {
  Row& row = rows_[static_cast<size_t>(r)];
  const auto mass_on = [&](KeyRange keys) {
    double mass = 0;
    const KeyRange run = keys.Intersect({begin, end});
    for (int64_t k = run.begin; k < run.end; ++k) mass += static_cast<double>(p[(k - begin) * stride] * factor);
    return mass;
  };
  if (first_keys_.begin < end && first_keys_.end > begin) row.first += mass_on(first_keys_);
  const KeyRange window = WindowOf(row);
  if (std::max(window.end, row.position + 2) <= begin || std::min(window.begin, row.position - 1) >= end) return;
  row.window += mass_on(window);
  row.previous += mass_on({row.position - 1, row.position});
  row.self += mass_on({row.position, row.position + 1});
  row.next += mass_on({row.position + 1, row.position + 2});
}

void WeightStatistics::FlushColumns(int64_t begin, int64_t end) {
  if (columns_.empty()) return;
  for (int64_t head = 0; head < plan_->dims.group(); ++head) {
    const float* from = columns_.data() + head * columns_stride_;
    int64_t* to = sums_.data() + head * kv_len_;
    for (int64_t k = begin; k < end; ++k) to[k] += static_cast<int64_t>(static_cast<double>(from[k - begin]) * parts_);
  }
  columns_.clear();
}

void WeightStatistics::End() {
  const int64_t group = plan_->dims.group();
  for (int64_t head = 0; head < group; ++head) {
    std::atomic<int64_t>* to = data_->columns + plan_->ColumnAt(tile_.batch, tile_.kv_head * group + head);
    for (int64_t k = 0; k < kv_len_; ++k) {
      const int64_t sum = sums_[static_cast<size_t>(head * kv_len_ + k)];
      if (sum != 0) to[k].fetch_add(sum, std::memory_order_relaxed);
    }
  }
  for (size_t r = 0; r < rows_.size(); ++r) {
    const RowPlace place = PlaceOf(plan_->dims, tile_, static_cast<int64_t>(r));
    if (rows_[r].total > 0) Write(rows_[r], plan_->LseAt(tile_.batch, place.head, place.query));
  }
}

void WeightStatistics::Write(const Row& row, int64_t at) const {
  const auto set = [&](auto figure, double value) {
    data_->rows[static_cast<size_t>(figure)][at] = static_cast<float>(value);
  };
  const bool placed = plan_->DiagnosesPositions(tile_.batch);
  const auto set_placed = [&](Statistic s, double value) {
    set(s, placed ? value : std::numeric_limits<double>::quiet_NaN());
  };
  const double most = std::log(static_cast<double>(row.visible));
  // Of the weights over their sum, of which a sink may have taken a part.
  const double entropy = row.entropy / row.total + std::log(row.total);
  set(Statistic::kEntropy, row.entropy);
  set(Statistic::kEvenness, row.visible > 1 ? entropy / most : 1);
  set(Statistic::kLargest, static_cast<double>(row.largest));
  set(Statistic::kFirst, row.first);
  set_placed(Statistic::kDistance, row.distance);
  set_placed(Statistic::kSelf, row.self);
  set_placed(Statistic::kPrevious, row.previous);
  set_placed(Statistic::kNext, row.next);
  set_placed(Statistic::kWindow, row.window);
  set(RowFigure::kWindowShare, static_cast<double>(row.in_window) / static_cast<double>(row.visible));
  set(RowFigure::kLogVisible, most);
  set(RowFigure::kTotal, row.total);
}

}  // namespace attnd
