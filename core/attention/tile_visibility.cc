#include "core/attention/tile_visibility.h"

#include <algorithm>
#include <cstring>

#include "core/attention/simd_bits.h"

namespace attnd {
namespace {

// What vector loads may read beyond a row of bits.
constexpr int64_t kReadBeyond = 8;

int64_t BytesOf(int64_t keys) { return (keys + 63) / 64 * 8; }

// Sets bits [range.begin, range.end) of a cleared row.
void SetRange(KeyRange range, uint8_t* bits) {
  int64_t k = range.begin;
  for (; k < range.end && k % 8 != 0; ++k) bits[k / 8] = static_cast<uint8_t>(bits[k / 8] | 1U << (k % 8));
  if (const int64_t whole = (range.end - k) / 8; whole > 0) {
    std::memset(bits + k / 8, 0xFF, static_cast<size_t>(whole));
    k += whole * 8;
  }
  for (; k < range.end; ++k) bits[k / 8] = static_cast<uint8_t>(bits[k / 8] | 1U << (k % 8));
}

// Leaves in `both` the bits that `bits` has, too, in whole words.
void Intersect(const uint8_t* bits, int64_t bytes, uint8_t* both) {
  for (int64_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    uint64_t old = 0;
    std::memcpy(&word, bits + i, sizeof(word));
    std::memcpy(&old, both + i, sizeof(old));
    old &= word;
    std::memcpy(both + i, &old, sizeof(old));
  }
}

// Whole bytes that `keys` elements of a row of a mask or bias take.
int64_t RowBytes(const BroadcastPlan& plan, int64_t keys) {
  return plan.dtype == DataType::kBit ? keys / 8 : keys * ElementBytes(plan.dtype);
}

// Takes what a broadcast mask or bias hides out of a row's bits for keys [begin, end).
template <typename Keep>
void HideByElements(const BroadcastPlan& plan, const std::byte* row, int64_t begin, int64_t end, uint8_t* bits,
                    Keep keep) {
  if (plan.per_key) {
    keep(row + RowBytes(plan, begin), end - begin, bits);
    return;
  }
  // One element for all keys.
  uint8_t one[1 + kReadBeyond] = {1};
  keep(row, 1, one);
  if (one[0] == 0) std::memset(bits, 0, static_cast<size_t>(BytesOf(end - begin)));
}

}  // namespace

BlockVisibility::Kind BlockVisibility::KindByBits(int64_t row, int64_t rows, KeyRange keys) const {
  bool some = false;
  bool all = true;
  for (int64_t r = row; r < row + rows; ++r) {
    for (int64_t k = keys.begin; k < keys.end; k += 64) {
      uint64_t word = 0;
      std::memcpy(&word, bits + r * bits_stride + k / 8, sizeof(word));
      const uint64_t asked = keys.end - k >= 64 ? ~uint64_t{0} : (uint64_t{1} << (keys.end - k)) - 1;
      some = some || (word & asked) != 0;
      all = all && (word & asked) == asked;
    }
    if (some && !all) return Kind::kSome;
  }
  return some ? Kind::kAll : Kind::kNone;
}

void TileVisibility::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  plan_ = &plan;
  data_ = &data;
  tile_ = tile;
  rows_ = tile.row_end - tile.row_begin;
  inside_ = HidesInside();
  LocateRows();
  const Visibility& rules = plan.visibility;
  if (rules.same_for_all_queries()) {
    any_ = all_ = rules.Keys(tile.batch, 0);
    row_keys_.assign(static_cast<size_t>(rows_), any_);
    return;
  }
  row_keys_.resize(static_cast<size_t>(rows_));
  any_ = {0, 0};
  all_ = {0, plan.keys.count[tile.batch]};
  for (int64_t r = 0; r < rows_; ++r) {
    const KeyRange keys = rules.Keys(tile.batch, PlaceOf(plan.dims, tile, r).query);
    row_keys_[static_cast<size_t>(r)] = keys;
    all_ = all_.Intersect(keys);
    if (keys.empty()) continue;
    any_ = any_.empty() ? keys : KeyRange{std::min(any_.begin, keys.begin), std::max(any_.end, keys.end)};
  }
}

void TileVisibility::LocateRows() {
  elements_.clear();
  const auto locate = [this](const BroadcastPlan& plan, const std::byte* base) {
    for (int64_t r = 0; r < rows_; ++r) {
      const RowPlace place = PlaceOf(plan_->dims, tile_, r);
      elements_.push_back(base + tile_.batch * plan.batch + place.head * plan.head + place.query * plan.query);
    }
  };
  for (size_t i = 0; i < plan_->masks.size(); ++i) locate(plan_->masks[i], data_->masks[i]);
  for (size_t i = 0; i < plan_->biases.size(); ++i) locate(plan_->biases[i], data_->biases[i]);
}

// Elements of a block lie far apart from row to row, where no prefetcher of the machine's
// own finds them.
const std::byte* TileVisibility::ElementsOf(const BroadcastPlan& plan, int64_t i, int64_t r, int64_t begin,
                                            int64_t end) const {
  constexpr int64_t kRowsAhead = 8;
  constexpr int64_t kLine = 64;
  const std::byte* const* rows = elements_.data() + i * rows_;
  if (plan.per_key && r + kRowsAhead < rows_) {
    const std::byte* ahead = rows[r + kRowsAhead] + RowBytes(plan, begin);
    for (int64_t at = 0; at < RowBytes(plan, end - begin); at += kLine) __builtin_prefetch(ahead + at);
  }
  return rows[r];
}

bool TileVisibility::HidesInside() const {
  const auto& documents = plan_->visibility.documents;
  return !plan_->masks.empty() || !plan_->biases.empty() || (documents != nullptr && documents->scattered(tile_.batch));
}

BlockVisibility TileVisibility::Block(int64_t begin, int64_t end) {
  if (inside_) return BlockByBits(begin, end);
  if (all_.begin <= begin && end <= all_.end) return {.pairs = rows_ * (end - begin)};
  return BlockByRanges(begin, end);
}

BlockVisibility TileVisibility::BlockByRanges(int64_t begin, int64_t end) {
  BlockVisibility block{.kind = BlockVisibility::Kind::kSome};
  ranges_.resize(row_keys_.size());
  for (size_t r = 0; r < row_keys_.size(); ++r) {
    const KeyRange seen = row_keys_[r].Intersect({begin, end});
    ranges_[r] = seen.empty() ? KeyRange{0, 0} : KeyRange{seen.begin - begin, seen.end - begin};
    block.pairs += ranges_[r].size();
  }
  block.ranges = ranges_.data();
  if (block.pairs == 0) block.kind = BlockVisibility::Kind::kNone;
  seen_by_all_.assign(static_cast<size_t>(BytesOf(end - begin)), 0);
  const KeyRange all = all_.Intersect({begin, end});
  if (!all.empty()) SetRange({all.begin - begin, all.end - begin}, seen_by_all_.data());
  block.seen_by_all = seen_by_all_.data();
  return block;
}

BlockVisibility TileVisibility::BlockByBits(int64_t begin, int64_t end) {
  BlockVisibility block{.kind = BlockVisibility::Kind::kSome};
  const int64_t bytes = BytesOf(end - begin);
  bits_.assign(static_cast<size_t>(rows_ * bytes + kReadBeyond), 0);
  seen_by_all_.assign(static_cast<size_t>(bytes), 0xFF);
  for (int64_t r = 0; r < rows_; ++r) {
    uint8_t* bits = bits_.data() + r * bytes;
    const KeyRange seen = row_keys_[static_cast<size_t>(r)].Intersect({begin, end});
    if (!seen.empty()) {
      SetRange({seen.begin - begin, seen.end - begin}, bits);
      HideInRow(r, begin, end, bits);
    }
    Intersect(bits, bytes, seen_by_all_.data());
  }
  block.pairs = simd::CountBits(bits_.data(), rows_ * bytes);
  block.bits = bits_.data();
  block.bits_stride = bytes;
  block.seen_by_all = seen_by_all_.data();
  if (block.pairs == 0) block.kind = BlockVisibility::Kind::kNone;
  if (block.pairs == rows_ * (end - begin)) block = {.pairs = block.pairs};
  return block;
}

void TileVisibility::HideInRow(int64_t r, int64_t begin, int64_t end, uint8_t* bits) const {
  const int64_t keys = end - begin;
  if (const auto& documents = plan_->visibility.documents; documents != nullptr && documents->scattered(tile_.batch)) {
    simd::KeepEqual(documents->KeyIds(tile_.batch, begin), keys,
                    documents->QueryId(tile_.batch, PlaceOf(plan_->dims, tile_, r).query), bits);
  }
  for (size_t i = 0; i < plan_->masks.size(); ++i) {
    const BroadcastPlan& mask = plan_->masks[i];
    HideByElements(mask, ElementsOf(mask, static_cast<int64_t>(i), r, begin, end), begin, end, bits,
                   [&mask](const std::byte* elements, int64_t n, uint8_t* row_bits) {
                     if (mask.dtype == DataType::kBit) {
                       simd::KeepByBit(elements, n, mask.keep, row_bits);
                     } else {
                       simd::KeepByBool(elements, n, mask.keep, row_bits);
                     }
                   });
  }
  for (size_t i = 0; i < plan_->biases.size(); ++i) {
    const BroadcastPlan& bias = plan_->biases[i];
    HideByElements(bias, ElementsOf(bias, static_cast<int64_t>(plan_->masks.size() + i), r, begin, end), begin, end,
                   bits, [&bias](const std::byte* elements, int64_t n, uint8_t* row_bits) {
                     simd::KeepAboveMinusInfinity(elements, bias.dtype, n, row_bits);
                   });
  }
}

}  // namespace attnd
