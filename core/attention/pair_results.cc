#include "core/attention/pair_results.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

}  // namespace

absl::Status PairResults::Write(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                const float* max, const float* sum, bool has_statistics) {
  const bool weights = plan.weights.has_value() && !plan.mean_weights;
  const bool summaries = summaries_.Begin(plan, data, tile, sum, !has_statistics);
  if (!weights && !summaries && !plan.scores.has_value()) return absl::OkStatus();
  plan_ = &plan;
  data_ = &data;
  tile_ = tile;
  if (absl::Status status = blocks_.Begin(plan, data, tile); !status.ok()) return status;
  if (weights) {
    if (absl::Status status = WriteWeights(max, sum); !status.ok()) return status;
  }
  if (summaries) {
    if (absl::Status status = Summarize(max, sum); !status.ok()) return status;
  }
  return plan.scores.has_value() ? WriteScores() : absl::OkStatus();
}

void PairResults::ToWeights(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end, RowSoftmax softmax) {
  float* row = blocks_.row(r);
  const int64_t keys = end - begin;
  if (softmax.sum == 0) {
    std::fill(row, row + keys, 0.0F);
    return;
  }
  blocks_.stages().Apply(ScoreStage::kBiased, r, begin, end, row);
  simd::WeightsRow(row, keys, softmax.max, softmax.sum, row);
  for (int64_t k = 0; k < keys && visible.kind == BlockVisibility::Kind::kSome; ++k) {
    if (!visible.Sees(r, k)) row[k] = 0;
  }
}

absl::Status PairResults::WriteWeights(const float* max, const float* sum) {
  const AttentionPlan& plan = *plan_;
  const int64_t kv_len = blocks_.key().count;
  if (kv_len == 0) return absl::OkStatus();
  const int64_t element = ElementBytes(plan.pairs_dtype);
  std::vector<std::byte*> rows(static_cast<size_t>(blocks_.rows()));
  bool reported = false;
  for (int64_t r = 0; r < blocks_.rows(); ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile_, r);
    const int64_t slot = plan.WeightsSlot(tile_.batch, place.query);
    if (slot < 0) continue;
    std::byte* row = data_->weights + plan.PairsAt(*plan.weights, tile_.batch, place.head, slot) * element;
    std::memset(row, 0, static_cast<size_t>(kv_len * element));
    rows[static_cast<size_t>(r)] = row;
    reported = true;
  }
  if (!reported) return absl::OkStatus();
  return blocks_.ForEach(blocks_.visibility().any(), [&](int64_t begin, int64_t end) {
    const BlockVisibility visible = blocks_.visibility().Block(begin, end);
    if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
    if (absl::Status status = blocks_.Compute(begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < blocks_.rows(); ++r) {
      std::byte* row = rows[static_cast<size_t>(r)];
      if (row == nullptr) continue;
      ToWeights(visible, r, begin, end, {max[r], sum[r]});
      simd::StoreRow(blocks_.row(r), end - begin, plan.pairs_dtype, row + begin * element);
    }
    return absl::OkStatus();
  });
}

absl::Status PairResults::Summarize(const float* max, const float* sum) {
  absl::Status status = blocks_.ForEach(blocks_.visibility().any(), [&](int64_t begin, int64_t end) {
    const BlockVisibility visible = blocks_.visibility().Block(begin, end);
    if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
    if (absl::Status s = blocks_.Compute(begin, end); !s.ok()) return s;
    for (int64_t r = 0; r < blocks_.rows(); ++r) {
      ToWeights(visible, r, begin, end, {max[r], sum[r]});
      summaries_.AddWeights(r, visible, begin, end, blocks_.row(r));
    }
    summaries_.EndBlock(begin, end);
    return absl::OkStatus();
  });
  summaries_.End();
  return status;
}

absl::Status PairResults::WriteScores() {
  return blocks_.ForEach({0, blocks_.key().count}, [&](int64_t begin, int64_t end) {
    // Only the last stage hides keys.
    const BlockVisibility visible =
        plan_->score_stage == ScoreStage::kBiased ? blocks_.visibility().Block(begin, end) : BlockVisibility();
    if (absl::Status status = blocks_.Compute(begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < blocks_.rows(); ++r) WriteScoreRow(visible, r, begin, end);
    return absl::OkStatus();
  });
}

void PairResults::WriteScoreRow(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end) {
  const AttentionPlan& plan = *plan_;
  float* row = blocks_.row(r);
  blocks_.stages().Apply(plan.score_stage, r, begin, end, row);
  for (int64_t k = 0; k < end - begin && visible.kind != BlockVisibility::Kind::kAll; ++k) {
    if (!visible.Sees(r, k)) row[k] = kNegInf;
  }
  const RowPlace place = PlaceOf(plan.dims, tile_, r);
  const int64_t at = plan.PairsAt(*plan.scores, tile_.batch, place.head, place.query) + begin;
  simd::StoreRow(row, end - begin, plan.pairs_dtype, data_->scores + at * ElementBytes(plan.pairs_dtype));
}

// A block of keys at a time: heads in order, so that bits do not depend on who computes what.
absl::Status PairResults::WriteMean(const AttentionPlan& plan, const AttentionData& data, int64_t batch,
                                    int64_t q_begin, int64_t q_end) {
  plan_ = &plan;
  data_ = &data;
  const Tile queries{batch, 0, q_begin, q_end, 0};
  bool reported = false;
  for (int64_t q = q_begin; q < q_end && !reported; ++q) reported = plan.WeightsSlot(batch, q) >= 0;
  if (!reported) return absl::OkStatus();
  const int64_t kv_len = plan.keys.count[batch];
  const int64_t key_block = products_->KeyBlock(plan.dims);
  if (absl::Status status = mean_.Reserve((q_end - q_begin) * key_block); !status.ok()) return status;
  for (int64_t begin = 0; begin < kv_len; begin += key_block) {
    const int64_t end = std::min(begin + key_block, kv_len);
    std::fill(mean_.data(), mean_.data() + (q_end - q_begin) * (end - begin), 0.0F);
    for (int64_t head = 0; head < plan.dims.heads; ++head) {
      if (absl::Status status = AddToMean(queries, head, begin, end); !status.ok()) return status;
    }
    StoreMean(queries, begin, end);
  }
  return absl::OkStatus();
}

absl::Status PairResults::AddToMean(const Tile& queries, int64_t head, int64_t begin, int64_t end) {
  tile_ = queries;
  tile_.kv_head = head / plan_->dims.group();
  tile_.only_head = head;
  if (absl::Status status = blocks_.Begin(*plan_, *data_, tile_); !status.ok()) return status;
  const BlockVisibility visible = blocks_.visibility().Block(begin, end);
  if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
  if (absl::Status status = blocks_.Compute(begin, end); !status.ok()) return status;
  const int64_t keys = end - begin;
  for (int64_t r = 0; r < blocks_.rows(); ++r) {
    const int64_t at = plan_->LseAt(tile_.batch, head, tile_.row_begin + r);
    ToWeights(visible, r, begin, end, {data_->row_max[at], data_->row_sum[at]});
    simd::AddRow(blocks_.row(r), keys, mean_.data() + r * keys);
  }
  return absl::OkStatus();
}

void PairResults::StoreMean(const Tile& queries, int64_t begin, int64_t end) {
  const AttentionPlan& plan = *plan_;
  const int64_t keys = end - begin;
  const int64_t element = ElementBytes(plan.pairs_dtype);
  for (int64_t r = 0; r < queries.row_end - queries.row_begin; ++r) {
    const int64_t slot = plan.WeightsSlot(queries.batch, queries.row_begin + r);
    if (slot < 0) continue;
    float* mean = mean_.data() + r * keys;
    (void)simd::DivideRow(mean, keys, static_cast<float>(plan.dims.heads), mean);
    const int64_t at = plan.PairsAt(*plan.weights, queries.batch, 0, slot) + begin;
    simd::StoreRow(mean, keys, plan.pairs_dtype, data_->weights + at * element);
  }
}

}  // namespace attnd
