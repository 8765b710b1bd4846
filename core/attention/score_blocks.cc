#include "core/attention/score_blocks.h"

#include "core/attention/simd_rows.h"

namespace attnd {

void LoadQueryRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, float* rows,
                   int64_t stride) {
  const DataType dtype = plan.gathered_query_dtype();
  for (int64_t r = 0; r < tile.row_end - tile.row_begin; ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile, r);
    const int64_t at = plan.QueryAt(tile.batch, place.head, place.query);
    simd::LoadRow(data.query + at * ElementBytes(dtype), dtype, plan.dims.head_dim, rows + r * stride);
  }
}

TokenRows KeysOf(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  const DataType dtype = plan.gathered_key_dtype();
  return {data.key + plan.KeyAt(tile.batch, tile.kv_head, 0) * ElementBytes(dtype), dtype, plan.key.token,
          plan.dims.head_dim, plan.keys.count[tile.batch]};
}

TokenRows ValuesOf(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  const DataType dtype = plan.key_dtype;
  return {data.value + plan.ValueAt(tile.batch, tile.kv_head, 0) * ElementBytes(dtype), dtype, plan.value.token,
          plan.dims.value_dim, plan.keys.count[tile.batch]};
}

absl::Status ScoreBlocks::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  key_ = KeysOf(plan, data, tile);
  rows_ = tile.row_end - tile.row_begin;
  key_block_ = products_->KeyBlock(plan.dims);
  // One line more than the block keeps the rows out of the same cache sets.
  stride_ = key_block_ + simd::kRowMultiple;
  if (absl::Status status = scores_.Reserve(products_->RowsWritten(rows_) * stride_); !status.ok()) return status;
  visibility_.Begin(plan, data, tile);
  stages_.Begin(plan, data, tile);
  return products_->Begin(plan, data, tile);
}

}  // namespace attnd
