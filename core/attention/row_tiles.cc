#include "core/attention/row_tiles.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/attention/row_results.h"
#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

bool WritesPairs(const AttentionPlan& plan) {
  return (plan.weights.has_value() && !plan.mean_weights) || plan.scores.has_value();
}

}  // namespace

void LoadQueryRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, float* rows,
                   int64_t stride) {
  const DataType dtype = plan.gathered_query_dtype();
  for (int64_t r = 0; r < tile.row_end - tile.row_begin; ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile, r);
    const int64_t at = plan.QueryAt(tile.batch, place.head, place.query);
    simd::LoadRow(data.query + at * ElementBytes(dtype), dtype, plan.dims.head_dim, rows + r * stride);
  }
}

absl::StatusOr<RowTiles::Context> RowTiles::Begin(const AttentionPlan& plan, const AttentionData& data,
                                                  const Tile& tile) {
  const int64_t key_bytes = ElementBytes(plan.key_dtype);
  const int64_t kv_len = plan.keys.count[tile.batch];
  const Context c{plan,
                  data,
                  tile,
                  {data.key + plan.KeyAt(tile.batch, tile.kv_head, 0) * ElementBytes(plan.gathered_key_dtype()),
                   plan.gathered_key_dtype(), plan.key.token, plan.dims.head_dim, kv_len},
                  {data.value + plan.ValueAt(tile.batch, tile.kv_head, 0) * key_bytes, plan.key_dtype, plan.value.token,
                   plan.dims.value_dim, kv_len},
                  tile.row_end - tile.row_begin,
                  products_->KeyBlock(plan.dims),
                  HasScoreStages(plan)};
  const int64_t rows = products_->RowsWritten(c.rows);
  acc_stride_ = RoundUp(plan.dims.value_dim, simd::kRowMultiple);
  // One line more than the block keeps the rows out of the same cache sets.
  score_stride_ = c.key_block + simd::kRowMultiple;
  if (absl::Status status = acc_.Reserve(rows * acc_stride_); !status.ok()) return status;
  if (absl::Status status = scores_.Reserve(rows * score_stride_); !status.ok()) return status;
  visibility_.Begin(plan, data, tile);
  stages_.Begin(plan, data, tile);
  if (absl::Status status = products_->Begin(plan, data, tile); !status.ok()) return status;
  return c;
}

template <typename Step>
absl::Status RowTiles::ForBlocks(const Context& c, KeyRange keys, Step step) {
  if (keys.empty()) return absl::OkStatus();
  int64_t begin = keys.begin / simd::kRowMultiple * simd::kRowMultiple;
  while (begin < keys.end) {
    const int64_t end = std::min((begin / c.key_block + 1) * c.key_block, keys.end);
    if (absl::Status status = step(begin, end); !status.ok()) return status;
    begin = end;
  }
  return absl::OkStatus();
}

absl::StatusOr<RowCounts> RowTiles::Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  const auto c = Begin(plan, data, tile);
  if (!c.ok()) return c.status();
  max_.assign(static_cast<size_t>(c->rows), kNegInf);
  sum_.assign(static_cast<size_t>(c->rows), 0.0F);
  std::fill(acc_.data(), acc_.data() + products_->RowsWritten(c->rows) * acc_stride_, 0.0F);
  int64_t pairs = 0;
  absl::Status status =
      ForBlocks(*c, visibility_.any(), [&](int64_t begin, int64_t end) { return AddBlock(*c, begin, end, &pairs); });
  if (!status.ok()) return status;
  RowCounts counts = WriteRows(plan, data, tile, State());
  counts.pairs = pairs;
  if (status = WritePairs(*c, max_.data(), sum_.data()); !status.ok()) return status;
  return counts;
}

absl::Status RowTiles::WritePairs(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                  const float* max, const float* sum) {
  if (!WritesPairs(plan)) return absl::OkStatus();
  const auto c = Begin(plan, data, tile);
  return c.ok() ? WritePairs(*c, max, sum) : c.status();
}

absl::Status RowTiles::WritePairs(const Context& c, const float* max, const float* sum) {
  if (c.plan.weights.has_value() && !c.plan.mean_weights) {
    if (absl::Status status = WriteWeights(c, max, sum); !status.ok()) return status;
  }
  return c.plan.scores.has_value() ? WriteScores(c) : absl::OkStatus();
}

absl::Status RowTiles::Scores(const Context& c, int64_t begin, int64_t end) {
  return products_->Scores(c.key, begin, end, scores_.data(), score_stride_);
}

absl::Status RowTiles::AddBlock(const Context& c, int64_t begin, int64_t end, int64_t* pairs) {
  const BlockVisibility visible = visibility_.Block(begin, end);
  *pairs += visible.pairs;
  if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
  if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
  for (int64_t r = 0; r < c.rows && c.staged; ++r) stages_.Apply(ScoreStage::kBiased, r, begin, end, ScoreRow(r));
  const simd::ScoreBlock block{scores_.data(), score_stride_,      c.rows,
                               end - begin,    visible.ranges,     c.staged ? 1.0F : c.plan.scale,
                               visible.bits,   visible.bits_stride};
  simd::SoftmaxBlock(block, State());
  return AddValues(c, visible, block, begin);
}

bool RowTiles::FindPoison(const Context& c, const BlockVisibility& visible, int64_t begin, int64_t end) {
  const int64_t keys = end - begin;
  const int64_t token_bytes = c.value.stride * ElementBytes(c.value.dtype);
  poison_.assign(static_cast<size_t>((keys + 7) / 8), 0);
  bool found = false;
  for (int64_t k = 0; k < keys; ++k) {
    if (k % 8 == 0 && visible.seen_by_all[k / 8] == 0xFF) {
      k += 7;
      continue;
    }
    if ((visible.seen_by_all[k / 8] >> (k % 8) & 1) != 0) continue;
    if (simd::AllFiniteRow(c.value.base + (begin + k) * token_bytes, c.value.dtype, c.value.dim)) continue;
    auto& byte = poison_[static_cast<size_t>(k / 8)];
    byte = static_cast<uint8_t>(byte | 1U << (k % 8));
    found = true;
  }
  return found;
}

absl::Status RowTiles::AddValues(const Context& c, const BlockVisibility& visible, const simd::ScoreBlock& block,
                                 int64_t begin) {
  const int64_t end = begin + block.keys;
  if (visible.kind == BlockVisibility::Kind::kSome && FindPoison(c, visible, begin, end)) {
    return AddPoisonedValues(c, visible, block, begin);
  }
  return products_->AddValues(scores_.data(), score_stride_, c.value, begin, end, acc_.data(), acc_stride_);
}

// A product carries a value that is not finite over to rows that do not see it, since
// 0 * NaN is NaN. So it gets 0 in the place of such values, and rows that do see them get
// them afterwards, one by one: the others keep their bits.
absl::Status RowTiles::AddPoisonedValues(const Context& c, const BlockVisibility& visible,
                                         const simd::ScoreBlock& block, int64_t begin) {
  const int64_t value_dim = c.value.dim;
  const int64_t padded = RoundUp(block.keys, simd::kRowMultiple);
  const auto values = values_.Load(c.value, begin, begin + block.keys, 1, /*finite=*/false);
  if (!values.ok()) return values.status();
  if (absl::Status status = clean_values_.Reserve(padded * acc_stride_); !status.ok()) return status;
  std::fill(clean_values_.data(), clean_values_.data() + padded * acc_stride_, 0.0F);
  for (int64_t k = 0; k < block.keys; ++k) {
    if (!Poisoned(k)) std::copy_n(values->row(k), value_dim, clean_values_.data() + k * acc_stride_);
  }
  const TokenRows clean{reinterpret_cast<const std::byte*>(clean_values_.data()), DataType::kFloat32, acc_stride_,
                        value_dim, padded};
  const absl::Status status =
      products_->AddValues(scores_.data(), score_stride_, clean, 0, block.keys, acc_.data(), acc_stride_);
  if (!status.ok()) return status;

  const auto bytes = static_cast<int64_t>(poison_.size());
  seen_poison_.assign(static_cast<size_t>(c.rows * bytes), 0);
  for (int64_t k = 0; k < block.keys; ++k) {
    if (!Poisoned(k)) continue;
    for (int64_t r = 0; r < c.rows; ++r) {
      auto& byte = seen_poison_[static_cast<size_t>(r * bytes + k / 8)];
      if (visible.Sees(r, k)) byte = static_cast<uint8_t>(byte | 1U << (k % 8));
    }
  }
  simd::ScoreBlock seen = block;
  seen.visible = nullptr;
  seen.bits = seen_poison_.data();
  seen.bits_stride = bytes;
  simd::AccumulateVisible(seen, values->data, values->stride, value_dim, State());
  return absl::OkStatus();
}

void RowTiles::ToWeights(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end, float max, float sum) {
  float* row = ScoreRow(r);
  const int64_t keys = end - begin;
  if (sum == 0) {
    std::fill(row, row + keys, 0.0F);
    return;
  }
  stages_.Apply(ScoreStage::kBiased, r, begin, end, row);
  simd::WeightsRow(row, keys, max, sum, row);
  for (int64_t k = 0; k < keys && visible.kind == BlockVisibility::Kind::kSome; ++k) {
    if (!visible.Sees(r, k)) row[k] = 0;
  }
}

absl::Status RowTiles::WriteWeights(const Context& c, const float* max, const float* sum) {
  const AttentionPlan& plan = c.plan;
  const int64_t kv_len = c.key.count;
  if (kv_len == 0) return absl::OkStatus();
  const int64_t element = ElementBytes(plan.output_dtype);
  std::vector<std::byte*> rows(static_cast<size_t>(c.rows));
  bool reported = false;
  for (int64_t r = 0; r < c.rows; ++r) {
    const RowPlace place = PlaceOf(plan.dims, c.tile, r);
    const int64_t slot = plan.WeightsSlot(c.tile.batch, place.query);
    if (slot < 0) continue;
    std::byte* row = c.data.weights + plan.PairsAt(*plan.weights, c.tile.batch, place.head, slot) * element;
    std::memset(row, 0, static_cast<size_t>(kv_len * element));
    rows[static_cast<size_t>(r)] = row;
    reported = true;
  }
  if (!reported) return absl::OkStatus();
  return ForBlocks(c, visibility_.any(), [&](int64_t begin, int64_t end) {
    const BlockVisibility visible = visibility_.Block(begin, end);
    if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
    if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < c.rows; ++r) {
      std::byte* row = rows[static_cast<size_t>(r)];
      if (row == nullptr) continue;
      ToWeights(visible, r, begin, end, max[r], sum[r]);
      simd::StoreRow(ScoreRow(r), end - begin, plan.output_dtype, row + begin * element);
    }
    return absl::OkStatus();
  });
}

absl::Status RowTiles::WriteScores(const Context& c) {
  return ForBlocks(c, {0, c.key.count}, [&](int64_t begin, int64_t end) {
    // Only the last stage hides keys.
    const BlockVisibility visible =
        c.plan.score_stage == ScoreStage::kBiased ? visibility_.Block(begin, end) : BlockVisibility();
    if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < c.rows; ++r) WriteScoreRow(c, visible, r, begin, end);
    return absl::OkStatus();
  });
}

void RowTiles::WriteScoreRow(const Context& c, const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end) {
  const AttentionPlan& plan = c.plan;
  float* row = ScoreRow(r);
  stages_.Apply(plan.score_stage, r, begin, end, row);
  for (int64_t k = 0; k < end - begin && visible.kind != BlockVisibility::Kind::kAll; ++k) {
    if (!visible.Sees(r, k)) row[k] = kNegInf;
  }
  const RowPlace place = PlaceOf(plan.dims, c.tile, r);
  const int64_t at = plan.PairsAt(*plan.scores, c.tile.batch, place.head, place.query) + begin;
  simd::StoreRow(row, end - begin, plan.output_dtype, c.data.scores + at * ElementBytes(plan.output_dtype));
}

absl::Status RowTiles::MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                                   int64_t q_end) {
  const Tile queries{batch, 0, q_begin, q_end, 0};
  bool reported = false;
  for (int64_t q = q_begin; q < q_end && !reported; ++q) reported = plan.WeightsSlot(batch, q) >= 0;
  if (!reported) return absl::OkStatus();
  const int64_t kv_len = plan.keys.count[batch];
  const int64_t key_block = products_->KeyBlock(plan.dims);
  if (absl::Status status = mean_.Reserve((q_end - q_begin) * key_block); !status.ok()) return status;
  for (int64_t begin = 0; begin < kv_len; begin += key_block) {
    const int64_t end = std::min(begin + key_block, kv_len);
    if (absl::Status status = MeanBlock(plan, data, queries, begin, end); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The mean over heads for keys [begin, end): heads in order, so that bits do not depend on
// who computes what.
absl::Status RowTiles::MeanBlock(const AttentionPlan& plan, const AttentionData& data, const Tile& queries,
                                 int64_t begin, int64_t end) {
  const int64_t keys = end - begin;
  const int64_t rows = queries.row_end - queries.row_begin;
  std::fill(mean_.data(), mean_.data() + rows * keys, 0.0F);
  for (int64_t head = 0; head < plan.dims.heads; ++head) {
    Tile tile = queries;
    tile.kv_head = head / plan.dims.group();
    tile.only_head = head;
    const auto c = Begin(plan, data, tile);
    if (!c.ok()) return c.status();
    const BlockVisibility visible = visibility_.Block(begin, end);
    if (visible.kind == BlockVisibility::Kind::kNone) continue;
    if (absl::Status status = Scores(*c, begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = plan.LseAt(tile.batch, head, tile.row_begin + r);
      ToWeights(visible, r, begin, end, data.row_max[at], data.row_sum[at]);
      simd::AddRow(ScoreRow(r), keys, mean_.data() + r * keys);
    }
  }
  const int64_t element = ElementBytes(plan.output_dtype);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t slot = plan.WeightsSlot(queries.batch, queries.row_begin + r);
    if (slot < 0) continue;
    float* mean = mean_.data() + r * keys;
    (void)simd::DivideRow(mean, keys, static_cast<float>(plan.dims.heads), mean);
    const int64_t at = plan.PairsAt(*plan.weights, queries.batch, 0, slot) + begin;
    simd::StoreRow(mean, keys, plan.output_dtype, data.weights + at * element);
  }
  return absl::OkStatus();
}

}  // namespace attnd
