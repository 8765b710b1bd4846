#include "core/attention/strip_statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "core/attention/simd.h"
#include "core/attention/simd_strip.h"
#include "core/attention/simd_weights.h"

namespace attnd {
namespace {

// What a strip's blocks may take, in floats: 16 MiB.
constexpr int64_t kMostKept = int64_t{1} << 22;
// Keys that a block may have beyond those that are seen.
constexpr int64_t kByteOfKeys = 8;
constexpr int64_t kFloatsPerLine = 16;

int64_t WholeLines(int64_t floats) { return (floats + kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine; }

}  // namespace

bool StripStatistics::Serve(const AttentionPlan& plan, int64_t batch) {
  return plan.diagnostics.has_value() && plan.keys.count[batch] * simd::FullStripWidth() <= kMostKept;
}

int64_t StripStatistics::MostRows(const AttentionPlan& plan) {
  return kMostKept / std::max<int64_t>(1, plan.dims.kv_len);
}

absl::Status StripStatistics::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                    int64_t strips, int64_t blocks, int64_t keys) {
  tile_ = tile;
  group_ = plan.dims.group();
  statistics_.Begin(plan, data, tile);
  blocks_.clear();
  block_max_.clear();
  kept_floats_ = 0;
  most_kept_ = strips * (simd::FullStripWidth() * (keys + kByteOfKeys * blocks) + kFloatsPerLine * blocks);
  return kept_.Reserve(most_kept_);
}

void StripStatistics::AddVisible(const BlockVisibility& visible, KeyRange block) {
  for (int64_t r = 0; r < tile_.row_end - tile_.row_begin; ++r) {
    statistics_.AddVisible(r, visible, r, block.begin, block.end);
  }
}

void StripStatistics::AddVisible(const TileVisibility& visibility) {
  for (int64_t r = 0; r < tile_.row_end - tile_.row_begin; ++r) statistics_.AddVisible(r, visibility.Keys(r));
}

float* StripStatistics::Place(int64_t row, int64_t rows, int64_t width, KeyRange keys) {
  float* p = kept_.data() + kept_floats_;
  blocks_.push_back({row, rows, width, keys, p, block_max_.size()});
  kept_floats_ += WholeLines(keys.size() * width);
  assert(kept_floats_ <= most_kept_);
  return p;
}

void StripStatistics::Keep(const float* max) { block_max_.insert(block_max_.end(), max, max + blocks_.back().width); }

// With c = exp(keys.max - end.max) / end.sum, weights are w = c p, and ln w = (score - keys.max) + ln c.
void StripStatistics::AddEntropy(int64_t r, State keys, float moment, State end) {
  if (!(keys.sum > 0)) return;
  const double log_factor =
      static_cast<double>(keys.max) - static_cast<double>(end.max) - std::log(static_cast<double>(end.sum));
  const double terms = static_cast<double>(moment) + static_cast<double>(keys.sum) * log_factor;
  const double factor = std::exp(log_factor);
  if (factor > 0) statistics_.AddEntropy(r, -factor * terms);
}

float StripStatistics::FactorOf(int64_t r, float block_max, float max, float sum) {
  const auto at = static_cast<size_t>(r);
  if (block_max == last_max_[at]) return last_factor_[at];
  // Without a finite maximum every p of the block is 0.
  const float factor = std::isinf(block_max) ? 0 : std::exp(block_max - max) / sum;
  last_max_[at] = block_max;
  last_factor_[at] = factor;
  return factor;
}

void StripStatistics::AddBlock(const Block& block, const float* max, const float* sum) {
  const int64_t keys = block.keys.size();
  std::fill(heads_.begin(), heads_.end(), 0.0F);
  for (int64_t i = 0; i < block.width; ++i) {
    const int64_t r = block.row + i;
    const bool counts = i < block.rows && !statistics_.passed_over(r) && sum[r] != 0;
    factor_[i] = counts ? FactorOf(r, block_max_[block.max_at + static_cast<size_t>(i)], max[r], sum[r]) : 0;
    distance_[i] = i < block.rows ? static_cast<float>(statistics_.position(r) - block.keys.begin) : 0;
    if (counts) heads_[static_cast<size_t>(statistics_.head(r) * block.width + i)] = 1;
  }
  simd::SumStripWeights(block.p, block.width, keys, {factor_, distance_, total_, moment_, largest_});
  float* columns = statistics_.Columns(block.keys.begin, block.keys.end);
  simd::AddStripColumns(block.p, block.width, keys,
                        {factor_, heads_.data(), group_, columns, statistics_.columns_stride()});
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t r = block.row + i;
    if (statistics_.passed_over(r)) continue;
    statistics_.AddSums(r, {total_[i], moment_[i], largest_[i]});
    statistics_.AddPlaces(r, block.keys.begin, block.keys.end, block.p + i, block.width, factor_[i]);
  }
  statistics_.FlushColumns(block.keys.begin, block.keys.end);
}

absl::Status StripStatistics::End(const float* max, const float* sum) {
  statistics_.PassOverNan(sum);
  const auto rows = static_cast<size_t>(tile_.row_end - tile_.row_begin);
  last_max_.assign(rows, std::numeric_limits<float>::quiet_NaN());
  last_factor_.assign(rows, 0);
  heads_.resize(static_cast<size_t>(group_ * simd::kMaxStripWidth));
  for (const Block& block : blocks_) AddBlock(block, max, sum);
  statistics_.End();
  return absl::OkStatus();
}

}  // namespace attnd
