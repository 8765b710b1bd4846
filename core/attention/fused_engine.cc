#include "core/attention/fused_engine.h"

#include <algorithm>

#include "core/attention/row_tiles.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/simd_thin.h"

namespace attnd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

class ThinProducts final : public RowProducts {
 public:
  // K and V of a block stay in a 512 KiB L2.
  [[nodiscard]] int64_t KeyBlock(const Dims& dims) const override {
    const int64_t keys = 65536 / (dims.head_dim + dims.value_dim);
    return std::clamp<int64_t>(keys / 64 * 64, 64, 512);
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

class FusedEngine final : public TileEngine {
 public:
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override {
    return thin_.Run(plan, data, tile);
  }
  absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                           int64_t q_end) override {
    return thin_.MeanWeights(plan, data, batch, q_begin, q_end);
  }

 private:
  RowTiles thin_{std::make_unique<ThinProducts>()};
};

}  // namespace

std::unique_ptr<TileEngine> NewFusedEngine() { return std::make_unique<FusedEngine>(); }

}  // namespace attnd
