#include "core/attention/heat_rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "core/attention/summaries.h"

namespace attnd {
namespace {

void RaiseTo(float value, std::atomic<uint32_t>& max) {
  const auto bits = std::bit_cast<uint32_t>(value);
  uint32_t old = max.load(std::memory_order_relaxed);
  while (old < bits && !max.compare_exchange_weak(old, bits, std::memory_order_relaxed)) continue;
}

}  // namespace

void HeatRows::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* sums) {
  plan_ = &plan;
  data_ = &data;
  tile_ = tile;
  sums_ = sums;
  kv_len_ = plan.keys.count[tile.batch];
  down_ = plan.heatmap->down[tile.batch];
  across_ = plan.heatmap->across[tile.batch];
  cell_row_ = -1;
  cells_.assign(static_cast<size_t>(plan.dims.group() * across_), Sum());
  begin_ = across_;
  end_ = 0;
}

void HeatRows::AddWeights(int64_t r, const BlockVisibility& visible, int64_t begin, int64_t end, const float* weights) {
  if (std::isnan(sums_[r])) return;
  const RowPlace place = PlaceOf(plan_->dims, tile_, r);
  const int64_t cell_row = ((place.query + 1) * down_ - 1) / plan_->queries.count[tile_.batch];
  if (cell_row != cell_row_) {
    Flush();
    cell_row_ = cell_row;
  }
  Sum* cells = cells_.data() + (place.head - tile_.kv_head * plan_->dims.group()) * across_;
  int64_t cell = CellOf(begin);
  begin_ = std::min(begin_, cell);
  for (int64_t key = begin; key < end; ++cell) {
    const int64_t next = std::min(FirstKey(cell + 1), end);
    double sum = 0;
    float max = 0;
    for (int64_t k = key; k < next; ++k) {
      sum += static_cast<double>(weights[k - begin]);
      max = std::max(max, weights[k - begin]);
    }
    cells[cell].sum += sum;
    cells[cell].pairs += visible.CountVisible(r, {key - begin, next - begin});
    cells[cell].max = std::max(cells[cell].max, max);
    key = next;
  }
  end_ = std::max(end_, cell);
}

void HeatRows::Flush() {
  const int64_t group = plan_->dims.group();
  for (int64_t head = 0; head < group && begin_ < end_; ++head) {
    HeatCell* to =
        data_->summaries->cells + plan_->HeatmapAt(tile_.batch, tile_.kv_head * group + head) + cell_row_ * across_;
    for (int64_t i = begin_; i < end_; ++i) {
      Sum& cell = cells_[static_cast<size_t>(head * across_ + i)];
      if (cell.pairs == 0) continue;
      to[i].sum.fetch_add(ToFixedPoint(cell.sum), std::memory_order_relaxed);
      to[i].pairs.fetch_add(static_cast<uint32_t>(cell.pairs), std::memory_order_relaxed);
      RaiseTo(cell.max, to[i].max);
      cell = Sum();
    }
  }
  begin_ = across_;
  end_ = 0;
}

}  // namespace attnd
