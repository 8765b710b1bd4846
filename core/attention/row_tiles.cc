#include "core/attention/row_tiles.h"

#include <algorithm>
#include <cstring>

#include "core/attention/row_results.h"
#include "core/attention/simd_rows.h"
#include "core/attention/split.h"

namespace attnd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

absl::StatusOr<int64_t> RowTiles::Compute(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                          KeyRange keys) {
  value_ = ValuesOf(plan, data, tile);
  scale_ = plan.scale;
  staged_ = HasScoreStages(plan);
  acc_stride_ = RoundUp(plan.dims.value_dim, simd::kRowMultiple);
  const int64_t rows = tile.row_end - tile.row_begin;
  const int64_t acc_rows = products_->RowsWritten(rows);
  if (absl::Status status = acc_.Reserve(acc_rows * acc_stride_); !status.ok()) return status;
  if (absl::Status status = blocks_.Begin(plan, data, tile); !status.ok()) return status;
  max_.resize(static_cast<size_t>(acc_rows));
  sum_.resize(static_cast<size_t>(acc_rows));
  ClearState(acc_rows, State());
  int64_t pairs = 0;
  absl::Status status = blocks_.ForEach(blocks_.visibility().any().Intersect(keys),
                                        [&](int64_t begin, int64_t end) { return AddBlock(begin, end, &pairs); });
  if (!status.ok()) return status;
  return pairs;
}

absl::StatusOr<RowCounts> RowTiles::Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  const auto pairs = Compute(plan, data, tile, KeyParts().keys(0));
  if (!pairs.ok()) return pairs.status();
  absl::StatusOr<RowCounts> counts = Finish(plan, data, tile, State());
  if (counts.ok()) counts->pairs = *pairs;
  return counts;
}

absl::StatusOr<int64_t> RowTiles::AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                          KeyRange keys, const simd::RowState& state) {
  auto pairs = Compute(plan, data, tile, keys);
  if (pairs.ok()) MergeState(tile.row_end - tile.row_begin, State(), state);
  return pairs;
}

absl::StatusOr<RowCounts> RowTiles::Finish(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                           const simd::RowState& state) {
  const RowCounts counts = WriteRows(plan, data, tile, state);
  if (absl::Status status = pairs_.Write(plan, data, tile, state.max, state.sum); !status.ok()) return status;
  return counts;
}

absl::Status RowTiles::AddBlock(int64_t begin, int64_t end, int64_t* pairs) {
  const BlockVisibility visible = blocks_.visibility().Block(begin, end);
  *pairs += visible.pairs;
  if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
  if (absl::Status status = blocks_.Compute(begin, end); !status.ok()) return status;
  for (int64_t r = 0; r < blocks_.rows() && staged_; ++r) {
    blocks_.stages().Apply(ScoreStage::kBiased, r, begin, end, blocks_.row(r));
  }
  const simd::ScoreBlock block{blocks_.row(0), blocks_.stride(),        blocks_.rows(), end - begin,
                               visible.ranges, staged_ ? 1.0F : scale_, visible.bits,   visible.bits_stride};
  simd::SoftmaxBlock(block, State());
  return AddValues(visible, block, begin);
}

bool RowTiles::FindPoison(const BlockVisibility& visible, int64_t begin, int64_t end) {
  const int64_t keys = end - begin;
  const int64_t token_bytes = value_.stride * ElementBytes(value_.dtype);
  poison_.assign(static_cast<size_t>((keys + 7) / 8), 0);
  bool found = false;
  for (int64_t k = 0; k < keys; ++k) {
    if (k % 8 == 0 && visible.seen_by_all[k / 8] == 0xFF) {
      k += 7;
      continue;
    }
    if ((visible.seen_by_all[k / 8] >> (k % 8) & 1) != 0) continue;
    if (simd::AllFiniteRow(value_.base + (begin + k) * token_bytes, value_.dtype, value_.dim)) continue;
    auto& byte = poison_[static_cast<size_t>(k / 8)];
    byte = static_cast<uint8_t>(byte | 1U << (k % 8));
    found = true;
  }
  return found;
}

absl::Status RowTiles::AddValues(const BlockVisibility& visible, const simd::ScoreBlock& block, int64_t begin) {
  const int64_t end = begin + block.keys;
  const auto add = [&] {
    return products_->AddValues(blocks_.row(0), blocks_.stride(), value_, begin, end, acc_.data(), acc_stride_);
  };
  if (visible.kind != BlockVisibility::Kind::kSome) return add();
  // Values that are not finite show in every row, seen or not. So they are looked for only then: reading all values
  // beforehand takes as long as adding them.
  const int64_t n = blocks_.rows() * acc_stride_;
  if (absl::Status status = acc_before_.Reserve(n); !status.ok()) return status;
  std::copy_n(acc_.data(), n, acc_before_.data());
  if (absl::Status status = add(); !status.ok() || AccFinite()) return status;
  if (!FindPoison(visible, begin, end)) return absl::OkStatus();
  std::copy_n(acc_before_.data(), n, acc_.data());
  return AddPoisonedValues(visible, block, begin);
}

bool RowTiles::AccFinite() const {
  for (int64_t r = 0; r < blocks_.rows(); ++r) {
    if (!simd::AllFinite(acc_.data() + r * acc_stride_, value_.dim)) return false;
  }
  return true;
}

// A product carries a value that is not finite over to rows that do not see it, since
// 0 * NaN is NaN. So it gets 0 in the place of such values, and rows that do see them get
// them afterwards, one by one: the others keep their bits.
absl::Status RowTiles::AddPoisonedValues(const BlockVisibility& visible, const simd::ScoreBlock& block, int64_t begin) {
  const int64_t value_dim = value_.dim;
  const int64_t padded = RoundUp(block.keys, simd::kRowMultiple);
  const auto values = values_.Load(value_, begin, begin + block.keys, 1, /*finite=*/false);
  if (!values.ok()) return values.status();
  if (absl::Status status = clean_values_.Reserve(padded * acc_stride_); !status.ok()) return status;
  std::fill(clean_values_.data(), clean_values_.data() + padded * acc_stride_, 0.0F);
  for (int64_t k = 0; k < block.keys; ++k) {
    if (!Poisoned(k)) std::copy_n(values->row(k), value_dim, clean_values_.data() + k * acc_stride_);
  }
  const TokenRows clean{reinterpret_cast<const std::byte*>(clean_values_.data()), DataType::kFloat32, acc_stride_,
                        value_dim, padded};
  absl::Status status =
      products_->AddValues(blocks_.row(0), blocks_.stride(), clean, 0, block.keys, acc_.data(), acc_stride_);
  if (!status.ok()) return status;

  const auto bytes = static_cast<int64_t>(poison_.size());
  seen_poison_.assign(static_cast<size_t>(blocks_.rows() * bytes), 0);
  for (int64_t k = 0; k < block.keys; ++k) {
    if (!Poisoned(k)) continue;
    for (int64_t r = 0; r < blocks_.rows(); ++r) {
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

}  // namespace attnd
