#include "core/attention/strip_tile.h"

#include <algorithm>
#include <limits>

#include "core/attention/score_blocks.h"
#include "core/attention/simd.h"
#include "core/attention/simd_pairs.h"
#include "core/attention/simd_rows.h"
#include "core/attention/simd_transpose.h"
#include "core/attention/strip_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

constexpr int64_t kFloatsPerLine = 16;

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Keys per block, a constant of shape and instruction set: scores of a strip take 16 KiB, half
// of a first cache, and keys and values of a block at most 512 KiB.
int64_t KeyBlock(const Dims& dims) {
  const int64_t by_scores = 4096 / simd::FullStripWidth();
  const int64_t by_values = 131072 / (dims.head_dim + dims.value_dim);
  return std::max<int64_t>(16, std::min(by_scores, by_values) / 16 * 16);
}

}  // namespace

void StripTile::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  plan_ = &plan;
  data_ = &data;
  tile_ = tile;
  staged_ = HasScoreStages(plan);
  in_pairs_ = StripInPairs(plan, tile.batch);
  key_.Begin(KeysOf(plan, data, tile), in_pairs_);
  value_.Begin(ValuesOf(plan, data, tile), in_pairs_);
  visibility_.Begin(plan, data, tile);
  stages_.Begin(plan, data, tile);
}

absl::StatusOr<int64_t> StripTile::Compute(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                           KeyRange keys) {
  Begin(plan, data, tile);
  keys_ = visibility_.any().Intersect(keys);
  // Whole bytes of visibility.
  next_block_ = BlockFrom(keys_.begin / 8 * 8);
  if (absl::Status status = MakeStrips(); !status.ok()) return status;
  if (keeps_) {
    const auto strips = static_cast<int64_t>(strips_.size());
    const int64_t blocks = keys_.size() / KeyBlock(plan.dims) + 2;
    if (absl::Status s = statistics_.Begin(plan, data, tile, strips, blocks, keys_.size()); !s.ok()) return s;
    if (!visibility_.hides_inside()) statistics_.AddVisible(visibility_);
  }
  int64_t pairs = 0;
  while (!next_block_.empty()) {
    const KeyRange block = next_block_;
    next_block_ = BlockFrom(block.end);
    if (absl::Status status = AddBlock(block); !status.ok()) return status;
    if (visibility_.hides_inside()) pairs += block_visibility_.pairs;
  }
  for (int64_t r = 0; r < tile.row_end - tile.row_begin && !visibility_.hides_inside(); ++r) {
    pairs += visibility_.Keys(r).Intersect(keys_).size();
  }
  return pairs;
}

absl::StatusOr<RowCounts> StripTile::Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  keeps_ = StripStatistics::Serve(plan, tile.batch);
  const auto pairs = Compute(plan, data, tile, KeyParts().keys(0));
  if (!pairs.ok()) return pairs.status();
  RowCounts counts{.pairs = *pairs};
  for (const Strip& strip : strips_) {
    const RowCounts finished = Finish(strip);
    counts.empty += finished.empty;
    counts.non_finite += finished.non_finite;
  }
  if (keeps_) {
    if (absl::Status status = statistics_.End(max(), sum()); !status.ok()) return status;
  }
  return counts;
}

absl::StatusOr<int64_t> StripTile::AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                           KeyRange keys, const simd::RowState& state) {
  keeps_ = false;
  const auto pairs = Compute(plan, data, tile, keys);
  if (!pairs.ok()) return pairs.status();
  const int64_t stride = RoundUp(plan.dims.value_dim, simd::kRowMultiple);
  for (const Strip& strip : strips_) {
    if (strip.empty) continue;
    std::fill(rows_.data(), rows_.data() + strip.width * stride, 0.0F);
    simd::StripToRows(strip.acc, strip.width, plan.dims.value_dim, rows_.data(), stride);
    MergeState(
        strip.rows, {strip.max, strip.sum, rows_.data(), stride},
        {state.max + strip.row, state.sum + strip.row, state.acc + strip.row * state.acc_stride, state.acc_stride});
  }
  return *pairs;
}

KeyRange StripTile::BlockFrom(int64_t begin) const {
  const int64_t key_block = KeyBlock(plan_->dims);
  return {begin, std::min((begin / key_block + 1) * key_block, keys_.end)};
}

absl::Status StripTile::MakeStrips() {
  const Dims& dims = plan_->dims;
  const int64_t rows = tile_.row_end - tile_.row_begin;
  const int64_t full = simd::FullStripWidth();
  const int64_t head_dim = RoundUp(dims.head_dim, simd::kTransposeMultiple);
  const int64_t value_dim = RoundUp(dims.value_dim, simd::kTransposeMultiple);
  const int64_t widest_row = RoundUp(std::max({head_dim, value_dim, KeyBlock(dims)}), simd::kRowMultiple);
  const int64_t strip_floats = full * (head_dim + value_dim + 3);
  // One more than there are full ones: two narrow strips may stand in for the last.
  const int64_t most_strips = RoundUp(rows, full) / full + 1;
  if (absl::Status s = strip_memory_.Reserve(most_strips * strip_floats); !s.ok()) return s;
  if (absl::Status s = scores_.Reserve((KeyBlock(dims) + simd::kTransposeMultiple) * full); !s.ok()) return s;
  if (absl::Status s = rows_.Reserve(full * widest_row); !s.ok()) return s;
  row_max_.resize(static_cast<size_t>(rows));
  row_sum_.resize(static_cast<size_t>(rows));

  strips_.clear();
  float* memory = strip_memory_.data();
  for (int64_t row = 0; row < rows;) {
    Strip strip;
    strip.row = row;
    strip.rows = StripRows(rows - row);
    row += strip.rows;
    strip.width = simd::StripWidth(strip.rows);
    SeeKeys(strip);
    strip.query = memory;
    strip.acc = strip.query + head_dim * full;
    strip.max = strip.acc + value_dim * full;
    strip.sum = strip.max + full;
    strip.moment = strip.sum + full;
    memory = strip.moment + full;
    std::fill(strip.max, strip.max + strip.width, kNegInf);
    std::fill(strip.sum, strip.sum + strip.width, 0.0F);
    std::fill(strip.moment, strip.moment + strip.width, 0.0F);
    BringMasksNearer(strip, 0, 1);
    LoadQuery(strip);
    if (in_pairs_) simd::StripToPairs(dims.head_dim, strip.query);
    strips_.push_back(strip);
  }
  return absl::OkStatus();
}

void StripTile::SeeKeys(Strip& strip) const {
  strip.any = visibility_.any().Intersect(keys_);
  strip.all = visibility_.all().Intersect(keys_);
  if (strip.any == strip.all) return;
  strip.any = {};
  strip.all = {0, plan_->keys.count[tile_.batch]};
  for (int64_t r = strip.row; r < strip.row + strip.rows; ++r) {
    const KeyRange keys = visibility_.Keys(r).Intersect(keys_);
    strip.all = strip.all.Intersect(keys);
    if (keys.empty()) continue;
    strip.any =
        strip.any.empty() ? keys : KeyRange{std::min(strip.any.begin, keys.begin), std::max(strip.any.end, keys.end)};
  }
}

Tile StripTile::TileOf(const Strip& strip) const {
  Tile rows = tile_;
  rows.row_begin = tile_.row_begin + strip.row;
  rows.row_end = rows.row_begin + strip.rows;
  return rows;
}

// Whether the strip's rows are queries of one head that fill it.
bool StripTile::EvenlyApart(const Strip& strip) const {
  return plan_->dims.heads == plan_->dims.kv_heads && strip.rows == strip.width;
}

void StripTile::LoadQuery(const Strip& strip) {
  const int64_t dim = plan_->dims.head_dim;
  const int64_t stride = RoundUp(dim, simd::kRowMultiple);
  const DataType dtype = plan_->gathered_query_dtype();
  if (dtype == DataType::kFloat32 && EvenlyApart(strip) && dim % simd::kTransposeMultiple == 0) {
    const auto* query = reinterpret_cast<const float*>(data_->query);
    const int64_t at = plan_->QueryAt(tile_.batch, tile_.kv_head, tile_.row_begin + strip.row);
    simd::RowsToStrip(query + at, plan_->query.token, strip.width, dim, strip.query);
    // What follows is likely to be the next strip, of this tile or of the next head's.
    const float* next = query + at + strip.rows * plan_->query.token;
    for (int64_t i = 0; i < strip.rows * dim; i += kFloatsPerLine) __builtin_prefetch(next + i);
    return;
  }
  LoadQueryRows(*plan_, *data_, TileOf(strip), rows_.data(), stride);
  std::fill(rows_.data() + strip.rows * stride, rows_.data() + strip.width * stride, 0.0F);
  simd::RowsToStrip(rows_.data(), stride, strip.width, dim, strip.query);
}

absl::Status StripTile::AddBlock(KeyRange block) {
  block_ = block;
  if (visibility_.hides_inside()) {
    block_visibility_ = visibility_.Block(block.begin, block.end);
    if (keeps_) statistics_.AddVisible(block_visibility_, block);
    if (block_visibility_.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
  }
  key_.Turn(block);
  value_.Turn(block);
  block_finite_.reset();
  for (Strip& strip : strips_) {
    if (absl::Status status = AddToStrip(strip, block); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status StripTile::AddToStrip(Strip& strip, KeyRange block) {
  KeyRange keys = strip.any.Intersect(block);
  if (keys.empty()) return absl::OkStatus();
  // Whole bytes of visibility.
  keys.begin = keys.begin / 8 * 8;
  first_key_ = keys.begin;
  KeyRange all = strip.all.Intersect(keys);
  if (visibility_.hides_inside() && block_visibility_.kind == BlockVisibility::Kind::kSome) {
    const KeyRange in_block{keys.begin - block.begin, keys.end - block.begin};
    const auto kind = block_visibility_.KindByBits(strip.row, strip.rows, in_block);
    if (kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
    all = kind == BlockVisibility::Kind::kAll ? keys : KeyRange();
    if (all.empty()) LoadBits(strip, in_block);
  }
  if (all.empty()) all = {keys.end, keys.end};
  if (absl::Status status = key_.Load(); !status.ok()) return status;
  const Part parts[3] = {{{keys.begin, all.begin}, false}, {all, true}, {{all.end, keys.end}, false}};

  block_scores_ = keeps_ ? statistics_.Place(strip.row, strip.rows, strip.width, keys) : scores_.data();
  BringMasksNearer(strip, 0, 3);
  std::fill(block_max_, block_max_ + strip.width, kNegInf);
  if (staged_) {
    Score(strip, keys, ignored_max_);
    ApplyStages(strip, keys);
  }
  for (const Part& part : parts) {
    if (part.keys.empty()) continue;
    if (!staged_) Score(strip, part.keys, part.seen_by_all ? block_max_ : ignored_max_);
    if (!part.seen_by_all) {
      Hide(strip, part.keys);
    } else if (staged_) {
      simd::StripMax(strip.width, part.keys.size(), ScoresAt(strip, part.keys.begin), block_max_);
    }
  }
  BringMasksNearer(strip, 1, 3);
  Softmax(strip, keys);
  BringMasksNearer(strip, 2, 3);
  return AddValues(strip, keys, parts);
}

void StripTile::Softmax(const Strip& strip, KeyRange keys) {
  const simd::StripState state{strip.max, strip.sum, alpha_};
  if (!keeps_) return simd::StripSoftmax(strip.width, keys.size(), block_max_, block_scores_, state);
  simd::StripSoftmaxMoment(strip.width, keys.size(), block_max_, block_scores_, state, strip.moment);
  statistics_.Keep(strip.max);
}

void StripTile::LoadBits(const Strip& strip, KeyRange keys) {
  const int64_t stride = block_visibility_.bits_stride;
  bits_.resize(static_cast<size_t>(RoundUp(keys.size(), 32) / 32 * strip.width));
  simd::BitsToStrip(block_visibility_.bits + strip.row * stride + keys.begin / 8, stride, strip.rows, strip.width,
                    keys.size(), bits_.data());
}

void StripTile::Score(const Strip& strip, KeyRange keys, float* max) {
  const std::byte* soon = SoonAtScores(strip, keys);
  float* scores = ScoresAt(strip, keys.begin);
  if (in_pairs_) {
    simd::PairScores(strip.query, plan_->scale, key_.TokensFrom(keys.begin), 0, keys.size(), scores, max, soon);
  } else {
    simd::StripScores(strip.query, strip.width, plan_->dims.head_dim, plan_->scale, key_.FloatsFrom(keys.begin),
                      keys.size(), scores, max, reinterpret_cast<const float*>(soon));
  }
}

// Little by little, while the strip computes: many lines at once would make it wait.
void StripTile::BringMasksNearer(const Strip& strip, int64_t i, int64_t n) const {
  if (!visibility_.hides_inside()) return;
  const int64_t begin = strip.rows * i / n;
  visibility_.BringNearer(strip.row + begin, strip.rows * (i + 1) / n - begin, next_block_);
}

// What is read in place is read by the first strip: keys, and then values. What is converted
// is read as a whole before the first strip. Behind the last key there is often the next head.
const std::byte* StripTile::SoonAtScores(const Strip& strip, KeyRange keys) const {
  if (value_.in_place()) return strip.row == strips_.front().row ? value_.MemoryFrom(keys.begin) : nullptr;
  return strip.row == strips_.back().row ? key_.MemoryFrom(keys.end) : nullptr;
}

const std::byte* StripTile::SoonAtValues(const Strip& strip, KeyRange keys) const {
  if (strip.row != strips_.back().row) return nullptr;
  return value_.in_place() ? key_.MemoryFrom(keys.end) : value_.MemoryFrom(keys.end);
}

void StripTile::ApplyStages(const Strip& strip, KeyRange keys) {
  float* scores = ScoresAt(strip, keys.begin);
  if (plan_->softcap > 0) simd::CapRow(scores, keys.size() * strip.width, plan_->softcap);
  const int64_t stride = RoundUp(keys.size(), simd::kRowMultiple);
  for (int64_t i = 0; i < stages_.addends(); ++i) {
    for (int64_t r = 0; r < strip.rows; ++r) {
      stages_.Addend(i, strip.row + r, keys.begin, keys.end, rows_.data() + r * stride);
    }
    std::fill(rows_.data() + strip.rows * stride, rows_.data() + strip.width * stride, 0.0F);
    simd::AddRowsToStrip(rows_.data(), stride, strip.width, keys.size(), scores);
  }
}

void StripTile::Hide(const Strip& strip, KeyRange keys) {
  float* scores = ScoresAt(strip, keys.begin);
  if (visibility_.hides_inside()) {
    simd::StripHideByBits(bits_.data(), strip.width, keys.size(), scores, block_max_);
    return;
  }
  for (int64_t r = 0; r < strip.width; ++r) {
    const KeyRange seen = r < strip.rows ? visibility_.Keys(strip.row + r).Intersect(keys) : KeyRange();
    begin_[r] = seen.empty() ? 0 : static_cast<int32_t>(seen.begin - keys.begin);
    end_[r] = seen.empty() ? 0 : static_cast<int32_t>(seen.end - keys.begin);
  }
  simd::StripHideOutside(begin_, end_, strip.width, 0, keys.size(), scores, block_max_);
}

// Masks make all strips ask. The first asks after its scores, on whose way values came nearer.
bool StripTile::ValuesFinite(KeyRange keys) {
  if (visibility_.hides_inside() && !block_finite_.has_value()) block_finite_ = value_.AllFinite(block_);
  return block_finite_.value_or(false) || value_.AllFinite(keys);
}

absl::Status StripTile::AddValues(Strip& strip, KeyRange keys, const Part (&parts)[3]) {
  for (const Part& part : parts) {
    if (part.seen_by_all || part.keys.empty() || ValuesFinite(part.keys)) continue;
    return AddPoisonedValues(strip, keys);
  }
  const std::byte* soon = SoonAtValues(strip, keys);
  const float* alpha = strip.empty ? nullptr : alpha_;
  strip.empty = false;
  if (absl::Status status = value_.Load(); !status.ok()) return status;
  if (in_pairs_) {
    simd::PairAddValues(block_scores_, value_.TokensFrom(keys.begin), 0, keys.size(), alpha, strip.acc, soon);
  } else {
    simd::StripAddValues(block_scores_, strip.width, keys.size(), value_.FloatsFrom(keys.begin), plan_->dims.value_dim,
                         alpha, strip.acc, reinterpret_cast<const float*>(soon));
  }
  return absl::OkStatus();
}

bool StripTile::Sees(const Strip& strip, int64_t r, int64_t key) const {
  const KeyRange keys = visibility_.Keys(strip.row + r);
  if (key < keys.begin || key >= keys.end) return false;
  return !visibility_.hides_inside() || block_visibility_.Sees(strip.row + r, key - block_.begin);
}

// Weights of 0 carry a value that is not finite over to rows that do not see it, since 0 * NaN
// is NaN. So the sums get 0 in the place of such values, and rows that do see them get them
// afterwards, one by one: the others keep their bits.
absl::Status StripTile::AddPoisonedValues(Strip& strip, KeyRange keys) {
  if (absl::Status status = value_.LoadFloats(); !status.ok()) return status;
  const int64_t dim = plan_->dims.value_dim;
  const FloatRows value = value_.FloatsFrom(keys.begin);
  if (absl::Status status = clean_values_.Reserve(keys.size() * dim); !status.ok()) return status;
  std::vector<int64_t> poisoned;
  for (int64_t k = 0; k < keys.size(); ++k) {
    float* clean = clean_values_.data() + k * dim;
    if (simd::AllFinite(value.row(k), dim)) {
      std::copy(value.row(k), value.row(k) + dim, clean);
    } else {
      std::fill(clean, clean + dim, 0.0F);
      poisoned.push_back(k);
    }
  }
  simd::StripAddValues(block_scores_, strip.width, keys.size(), {clean_values_.data(), dim}, dim,
                       strip.empty ? nullptr : alpha_, strip.acc);
  strip.empty = false;
  for (const int64_t k : poisoned) {
    for (int64_t r = 0; r < strip.rows; ++r) {
      if (!Sees(strip, r, keys.begin + k)) continue;
      const float p = block_scores_[k * strip.width + r];
      for (int64_t c = 0; c < dim; ++c) strip.acc[c * strip.width + r] += p * value.row(k)[c];
    }
  }
  return absl::OkStatus();
}

}  // namespace attnd
