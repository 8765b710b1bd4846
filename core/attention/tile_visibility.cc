#include "core/attention/tile_visibility.h"

#include <algorithm>
#include <bit>
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

int64_t CountBits(const uint8_t* bits, int64_t bytes) {
  int64_t count = 0;
  for (int64_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bits + i, sizeof(word));
    count += std::popcount(word);
  }
  return count;
}

// Takes what a broadcast mask or bias hides out of a row's bits for keys [begin, end).
template <typename Keep>
void HideByElements(const BroadcastPlan& plan, const std::byte* row, int64_t begin, int64_t end, uint8_t* bits,
                    Keep keep) {
  if (plan.per_key) {
    const int64_t offset = plan.dtype == DataType::kBit ? begin / 8 : begin * ElementBytes(plan.dtype);
    keep(row + offset, end - begin, bits);
    return;
  }
  // One element for all keys.
  uint8_t one[1 + kReadBeyond] = {1};
  keep(row, 1, one);
  if (one[0] == 0) std::memset(bits, 0, static_cast<size_t>(BytesOf(end - begin)));
}

}  // namespace

void TileVisibility::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  plan_ = &plan;
  data_ = &data;
  tile_ = tile;
  rows_ = tile.row_end - tile.row_begin;
  inside_ = HidesInside();
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
    for (int64_t i = 0; i < bytes; ++i) {
      seen_by_all_[static_cast<size_t>(i)] = static_cast<uint8_t>(seen_by_all_[static_cast<size_t>(i)] & bits[i]);
    }
    block.pairs += CountBits(bits, bytes);
  }
  block.bits = bits_.data();
  block.bits_stride = bytes;
  block.seen_by_all = seen_by_all_.data();
  if (block.pairs == 0) block.kind = BlockVisibility::Kind::kNone;
  if (block.pairs == rows_ * (end - begin)) block = {.pairs = block.pairs};
  return block;
}

void TileVisibility::HideInRow(int64_t r, int64_t begin, int64_t end, uint8_t* bits) const {
  const auto row_of = [this, place = PlaceOf(plan_->dims, tile_, r)](const BroadcastPlan& b, const std::byte* base) {
    return base + tile_.batch * b.batch + place.head * b.head + place.query * b.query;
  };
  const int64_t keys = end - begin;
  if (const auto& documents = plan_->visibility.documents; documents != nullptr && documents->scattered(tile_.batch)) {
    simd::KeepEqual(documents->KeyIds(tile_.batch, begin), keys,
                    documents->QueryId(tile_.batch, PlaceOf(plan_->dims, tile_, r).query), bits);
  }
  for (size_t i = 0; i < plan_->masks.size(); ++i) {
    const BroadcastPlan& mask = plan_->masks[i];
    HideByElements(mask, row_of(mask, data_->masks[i]), begin, end, bits,
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
    HideByElements(bias, row_of(bias, data_->biases[i]), begin, end, bits,
                   [&bias](const std::byte* elements, int64_t n, uint8_t* row_bits) {
                     simd::KeepAboveMinusInfinity(elements, bias.dtype, n, row_bits);
                   });
  }
}

}  // namespace attnd
