#include "core/attention/onednn_engine.h"

#include <algorithm>

#include "core/attention/float_rows.h"
#include "core/attention/row_tiles.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/linear/onednn.h"

namespace attnd {
namespace {

constexpr int64_t kRows = kOnednnRowsPerTile;

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// C [kRows, n] = A [kRows, k] op(B) + beta C. No alpha: with one, the bits of a row depend
// on its place among the rows.
absl::Status Product(bool transpose_b, int64_t n, int64_t k, const float* a, int64_t lda, const FloatRows& b,
                     float beta, float* c, int64_t ldc) {
  return OnednnSgemm(transpose_b, kRows, n, k, a, lda, b.data, b.stride, beta, c, ldc);
}

class OnednnProducts final : public RowProducts {
 public:
  // K and V of a block stay in a 512 KiB L2.
  [[nodiscard]] int64_t KeyBlock(const Dims& dims) const override {
    const int64_t keys = 65536 / (dims.head_dim + dims.value_dim);
    return std::clamp<int64_t>(keys / 64 * 64, 64, 512);
  }
  [[nodiscard]] int64_t RowsWritten(int64_t /*rows*/) const override { return kRows; }

  absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override;
  absl::Status Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) override;
  absl::Status AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin, int64_t end,
                         float* acc, int64_t acc_stride) override;

 private:
  FloatRowsLoader keys_;
  FloatRowsLoader values_;
  Scratch query_;
  int64_t query_stride_ = 0;
};

absl::Status OnednnProducts::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  query_stride_ = RoundUp(plan.dims.head_dim, simd::kRowMultiple);
  if (absl::Status status = query_.Reserve(kRows * query_stride_); !status.ok()) return status;
  LoadQueryRows(plan, data, tile, query_.data(), query_stride_);
  const int64_t rows = tile.row_end - tile.row_begin;
  std::fill(query_.data() + rows * query_stride_, query_.data() + kRows * query_stride_, 0.0F);
  return absl::OkStatus();
}

// Over whole vectors of keys: sgemm is slower and its bits differ when the number of columns
// is not that.
absl::Status OnednnProducts::Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) {
  const auto rows = keys_.Load(keys, begin, end, simd::kRowMultiple, /*finite=*/false);
  if (!rows.ok()) return rows.status();
  return Product(/*transpose_b=*/true, RoundUp(end - begin, simd::kRowMultiple), keys.dim, query_.data(), query_stride_,
                 *rows, 0.0F, scores, stride);
}

absl::Status OnednnProducts::AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin,
                                       int64_t end, float* acc, int64_t acc_stride) {
  const auto rows = values_.Load(values, begin, end, simd::kRowMultiple, /*finite=*/true);
  if (!rows.ok()) return rows.status();
  return Product(/*transpose_b=*/false, values.dim, RoundUp(end - begin, simd::kRowMultiple), p, stride, *rows, 1.0F,
                 acc, acc_stride);
}

class OnednnEngine final : public TileEngine {
 public:
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override {
    if (const KeyParts parts = PartsOf(plan, tile.batch); parts.count > 1) return RunParts(plan, data, tile, parts);
    return tiles_.Run(plan, data, tile);
  }
  absl::StatusOr<int64_t> AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, KeyRange keys,
                                  const simd::RowState& state) override {
    return tiles_.AddPart(plan, data, tile, keys, state);
  }
  absl::StatusOr<RowCounts> Finish(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                   const simd::RowState& state) override {
    return tiles_.Finish(plan, data, tile, state);
  }
  absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                           int64_t q_end) override {
    return tiles_.MeanWeights(plan, data, batch, q_begin, q_end);
  }

 private:
  RowTiles tiles_{std::make_unique<OnednnProducts>()};
};

}  // namespace

std::unique_ptr<TileEngine> NewOnednnEngine() {
  UseOnednnOnThisThreadOnly();
  return std::make_unique<OnednnEngine>();
}

}  // namespace attnd
