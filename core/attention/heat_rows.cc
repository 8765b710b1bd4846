#include "core/attention/heat_rows.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "core/attention/simd_weights.h"
#include "core/attention/summaries.h"

namespace attnd {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Of cells that other tiles add to, too.
void AddShared(int64_t sum, int64_t pairs, uint32_t max, HeatCell& cell) {
  cell.sum.fetch_add(sum, kRelaxed);
  cell.pairs.fetch_add(pairs, kRelaxed);
  uint32_t old = cell.max.load(kRelaxed);
  while (old < max && !cell.max.compare_exchange_weak(old, max, kRelaxed)) continue;
}

void AddOwn(int64_t sum, int64_t pairs, uint32_t max, HeatCell& cell) {
  cell.sum.store(cell.sum.load(kRelaxed) + sum, kRelaxed);
  cell.pairs.store(cell.pairs.load(kRelaxed) + pairs, kRelaxed);
  cell.max.store(std::max(cell.max.load(kRelaxed), max), kRelaxed);
}

simd::SumAndMax Pool(const float* w, int64_t n) {
  constexpr int64_t kFew = 8;  // not worth vectors
  if (n > kFew) return simd::PoolWeights(w, n);
  simd::SumAndMax pooled = {0, 0};
  for (int64_t k = 0; k < n; ++k) {
    pooled.sum += w[k];
    pooled.max = std::max(pooled.max, w[k]);
  }
  return pooled;
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
  bounds_.resize(static_cast<size_t>(across_ + 1));
  for (int64_t cell = 0; cell <= across_; ++cell) {
    bounds_[static_cast<size_t>(cell)] = across_ == 0 ? 0 : cell * kv_len_ / across_;
  }
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
  const bool all = visible.kind == BlockVisibility::Kind::kAll;
  int64_t cell = CellOf(begin);
  begin_ = std::min(begin_, cell);
  for (int64_t key = begin; key < end; ++cell) {
    const int64_t next = std::min(bounds_[static_cast<size_t>(cell) + 1], end);
    const simd::SumAndMax pooled = Pool(weights + (key - begin), next - key);
    cells[cell].sum += static_cast<double>(pooled.sum);
    cells[cell].pairs += all ? next - key : visible.CountVisible(r, {key - begin, next - begin});
    cells[cell].max = std::max(cells[cell].max, pooled.max);
    key = next;
  }
  end_ = std::max(end_, cell);
}

// Whether all rows of the cell row are the tile's.
bool HeatRows::OwnsCellRow() const {
  const int64_t q_len = plan_->queries.count[tile_.batch];
  const int64_t group = plan_->dims.group();
  return cell_row_ >= 0 && cell_row_ * q_len / down_ * group >= tile_.row_begin &&
         (cell_row_ + 1) * q_len / down_ * group <= tile_.row_end;
}

void HeatRows::Flush() {
  const int64_t group = plan_->dims.group();
  const auto add = OwnsCellRow() ? AddOwn : AddShared;
  const double parts = FixedPointOf(*plan_, tile_.batch);
  for (int64_t head = 0; head < group && begin_ < end_; ++head) {
    HeatCell* to =
        data_->summaries->cells + plan_->HeatmapAt(tile_.batch, tile_.kv_head * group + head) + cell_row_ * across_;
    for (int64_t i = begin_; i < end_; ++i) {
      Sum& cell = cells_[static_cast<size_t>(head * across_ + i)];
      if (cell.pairs == 0) continue;
      add(static_cast<int64_t>(cell.sum * parts), cell.pairs, std::bit_cast<uint32_t>(cell.max), to[i]);
      cell = Sum();
    }
  }
  begin_ = across_;
  end_ = 0;
}

}  // namespace attnd
