#include "core/attention/fused_engine.h"

#include <algorithm>

#include "core/attention/float_rows.h"
#include "core/attention/pair_results.h"
#include "core/attention/row_results.h"
#include "core/attention/row_tiles.h"
#include "core/attention/score_blocks.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/simd_pairs.h"
#include "core/attention/simd_strip.h"
#include "core/attention/simd_thin.h"
#include "core/attention/simd_transpose.h"
#include "core/attention/split.h"
#include "core/attention/strip_rows.h"
#include "core/attention/strip_statistics.h"
#include "core/attention/strip_tile.h"

namespace attnd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

class ThinProducts final : public RowProducts {
 public:
  // Long runs of keys and of values are read faster than short ones.
  [[nodiscard]] int64_t KeyBlock(const Dims& dims) const override {
    const int64_t keys = 524288 / (dims.head_dim + dims.value_dim);
    return std::clamp<int64_t>(keys / 64 * 64, 64, 4096);
  }

  absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override {
    rows_ = tile.row_end - tile.row_begin;
    query_stride_ = RoundUp(plan.dims.head_dim, simd::kRowMultiple);
    if (absl::Status status = query_.Reserve(rows_ * query_stride_); !status.ok()) return status;
    std::fill(query_.data(), query_.data() + rows_ * query_stride_, 0.0F);
    LoadQueryRows(plan, data, tile, query_.data(), query_stride_);
    return absl::OkStatus();
  }

  absl::Status Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) override {
    simd::DotRows({query_.data(), query_stride_, rows_}, keys, begin, end, {scores, stride});
    return absl::OkStatus();
  }

  absl::Status AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin, int64_t end,
                         float* acc, int64_t acc_stride) override {
    simd::AddWeightedRows({p, stride, rows_}, values, begin, end, {acc, acc_stride});
    return absl::OkStatus();
  }

 private:
  Scratch query_;
  int64_t query_stride_ = 0;
  int64_t rows_ = 0;
};

// Scores with the bits that strips give them, for the second pass. One strip at most.
class StripProducts final : public ScoreProducts {
 public:
  [[nodiscard]] int64_t KeyBlock(const Dims& /*dims*/) const override { return 256; }
  [[nodiscard]] int64_t RowsWritten(int64_t rows) const override { return simd::StripWidth(rows); }

  absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override {
    const int64_t dim = plan.dims.head_dim;
    const int64_t rows = tile.row_end - tile.row_begin;
    const int64_t stride = RoundUp(dim, simd::kRowMultiple);
    width_ = simd::StripWidth(rows);
    if (absl::Status status = rows_.Reserve(width_ * stride); !status.ok()) return status;
    if (absl::Status status = query_.Reserve(width_ * stride); !status.ok()) return status;
    LoadQueryRows(plan, data, tile, rows_.data(), stride);
    std::fill(rows_.data() + rows * stride, rows_.data() + width_ * stride, 0.0F);
    simd::RowsToStrip(rows_.data(), stride, width_, dim, query_.data());
    in_pairs_ = StripInPairs(plan, tile.batch);
    if (in_pairs_) simd::StripToPairs(dim, query_.data());
    return absl::OkStatus();
  }

  absl::Status Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) override {
    if (absl::Status status = scores_.Reserve(width_ * stride); !status.ok()) return status;
    const auto key = keys_.Load(keys, begin, end, 1, /*finite=*/false);
    if (!key.ok()) return key.status();
    if (in_pairs_) {
      const int64_t count = end - begin;
      simd::PairScores(query_.data(), 1, key->AsTokens(keys.dim, count), 0, count, scores_.data(), ignored_max_,
                       nullptr);
    } else {
      simd::StripScores(query_.data(), width_, keys.dim, 1, *key, end - begin, scores_.data(), ignored_max_);
    }
    simd::StripToRows(scores_.data(), width_, end - begin, scores, stride);
    return absl::OkStatus();
  }

 private:
  FloatRowsLoader keys_;
  Scratch rows_;
  Scratch query_;
  Scratch scores_;
  int64_t width_ = 0;
  bool in_pairs_ = false;
  alignas(64) float ignored_max_[simd::kMaxStripWidth] = {};
};

class FusedEngine final : public TileEngine {
 public:
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override {
    if (const KeyParts parts = PartsOf(plan, tile.batch); parts.count > 1) return RunParts(plan, data, tile, parts);
    // All rows of an entry go the same way, however they are cut into tiles.
    if (IsThin(plan, tile.batch)) return thin_.Run(plan, data, tile);
    absl::StatusOr<RowCounts> counts = strips_.Run(plan, data, tile);
    if (!counts.ok()) return counts;
    const bool has_statistics = StripStatistics::Serve(plan, tile.batch);
    absl::Status s = WritePairs(plan, data, tile, strips_.max(), strips_.sum(), has_statistics);
    if (!s.ok()) return s;
    return counts;
  }
  absl::StatusOr<int64_t> AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, KeyRange keys,
                                  const simd::RowState& state) override {
    if (IsThin(plan, tile.batch)) return thin_.AddPart(plan, data, tile, keys, state);
    return strips_.AddPart(plan, data, tile, keys, state);
  }
  absl::StatusOr<RowCounts> Finish(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                   const simd::RowState& state) override {
    if (IsThin(plan, tile.batch)) return thin_.Finish(plan, data, tile, state);
    const RowCounts counts = WriteRows(plan, data, tile, state);
    absl::Status s = WritePairs(plan, data, tile, state.max, state.sum, /*has_statistics=*/false);
    if (!s.ok()) return s;
    return counts;
  }
  absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                           int64_t q_end) override {
    if (IsThin(plan, batch)) return thin_.MeanWeights(plan, data, batch, q_begin, q_end);
    return strip_pairs_.WriteMean(plan, data, batch, q_begin, q_end);
  }

 private:
  static bool IsThin(const AttentionPlan& plan, int64_t batch) {
    return plan.q_used[batch] * plan.dims.group() <= kFusedThinRows;
  }

  // Weights, scores and summaries of rows of strips, a strip at a time.
  absl::Status WritePairs(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* max,
                          const float* sum, bool has_statistics) {
    const int64_t step = simd::FullStripWidth();
    for (int64_t row = tile.row_begin; row < tile.row_end; row += step) {
      Tile strip = tile;
      strip.row_begin = row;
      strip.row_end = std::min(row + step, tile.row_end);
      const int64_t at = row - tile.row_begin;
      if (absl::Status s = strip_pairs_.Write(plan, data, strip, max + at, sum + at, has_statistics); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  RowTiles thin_{std::make_unique<ThinProducts>()};
  StripTile strips_;
  StripProducts strip_products_;
  PairResults strip_pairs_{&strip_products_};
};

}  // namespace

int64_t FusedComputedRows(int64_t rows) {
  if (rows <= kFusedThinRows) return rows;
  const int64_t full = simd::FullStripWidth();
  int64_t computed = rows / full * full;
  for (int64_t left = rows % full; left > 0; left -= StripRows(left)) computed += simd::StripWidth(StripRows(left));
  return computed;
}

int64_t FusedRowsPerTile(const AttentionPlan& plan) {
  // Averages take all heads of a tile's rows in one step.
  return plan.mean_weights ? simd::FullStripWidth() : StripRowsPerTile(plan);
}

std::unique_ptr<TileEngine> NewFusedEngine() { return std::make_unique<FusedEngine>(); }

}  // namespace attnd
