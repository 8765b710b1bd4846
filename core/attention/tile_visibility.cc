#include "core/attention/tile_visibility.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/attention/simd_bits.h"

namespace attnd {
namespace {

// What words that begin at any byte may read beyond a row of bits.
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

// The 64 bits of keys `first` and behind, 1 for those of `range`.
uint64_t WordOf(KeyRange range, int64_t first) {
  const auto low_bits = [first](int64_t key) {
    const int64_t n = std::clamp<int64_t>(key - first, 0, 64);
    return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
  };
  return low_bits(range.end) & ~low_bits(range.begin);
}

// Whole bytes that `keys` elements of a row of a mask or bias take.
int64_t RowBytes(const BroadcastPlan& plan, int64_t keys) {
  return plan.dtype == DataType::kBit ? keys / 8 : keys * ElementBytes(plan.dtype);
}

}  // namespace

int64_t BlockVisibility::CountVisible(int64_t r, KeyRange keys) const {
  if (kind != Kind::kSome) return kind == Kind::kAll ? keys.size() : 0;
  if (bits == nullptr) return ranges[r].Intersect(keys).size();
  int64_t count = 0;
  for (int64_t first = keys.begin / 64 * 64; first < keys.end; first += 64) {
    uint64_t word = 0;
    std::memcpy(&word, bits + r * bits_stride + first / 8, sizeof(word));
    count += std::popcount(word & WordOf(keys, first));
  }
  return count;
}

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

void TileVisibility::BringNearer(int64_t row, int64_t rows, KeyRange keys) const {
  for (size_t i = 0; i < plan_->masks.size(); ++i) BringNearer(plan_->masks[i], i, row, rows, keys);
  for (size_t i = 0; i < plan_->biases.size(); ++i) {
    BringNearer(plan_->biases[i], plan_->masks.size() + i, row, rows, keys);
  }
}

// Elements of a block lie far apart from row to row, where no prefetcher of the machine's
// own finds them.
void TileVisibility::BringNearer(const BroadcastPlan& plan, size_t i, int64_t row, int64_t rows, KeyRange keys) const {
  constexpr int64_t kLine = 64;
  if (!plan.per_key) return;
  const std::byte* const* first = elements_.data() + static_cast<int64_t>(i) * rows_ + row;
  const int64_t begin = RowBytes(plan, keys.begin);
  const int64_t end = RowBytes(plan, keys.end);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t at = begin; at < end; at += kLine) __builtin_prefetch(first[r] + at, 0, 2);
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
  bits_.resize(static_cast<size_t>(rows_ * bytes + kReadBeyond));
  SetRanges(begin, end);
  HideByDocuments(begin, end);
  for (size_t i = 0; i < plan_->masks.size(); ++i) HideByMask(i, begin, end);
  for (size_t i = 0; i < plan_->biases.size(); ++i) HideByBias(i, begin, end);
  block.pairs = simd::CountBits(bits_.data(), rows_ * bytes);
  if (block.pairs == rows_ * (end - begin)) return {.pairs = block.pairs};
  if (block.pairs == 0) block.kind = BlockVisibility::Kind::kNone;
  FindSeenByAll(bytes);
  block.bits = bits_.data();
  block.bits_stride = bytes;
  block.seen_by_all = seen_by_all_.data();
  return block;
}

// Gives every row the bits of its range.
void TileVisibility::SetRanges(int64_t begin, int64_t end) {
  const KeyRange block{begin, end};
  const bool same = all_.begin <= begin && end <= all_.end;
  const int64_t bytes = BytesOf(end - begin);
  for (int64_t first = begin; first < end; first += 64) {
    uint8_t* bits = bits_.data() + (first - begin) / 8;
    const uint64_t whole = WordOf(block, first);
    for (int64_t r = 0; r < rows_; ++r) {
      const uint64_t word = same ? whole : whole & WordOf(row_keys_[static_cast<size_t>(r)], first);
      std::memcpy(bits + r * bytes, &word, sizeof(word));
    }
  }
}

void TileVisibility::FindSeenByAll(int64_t bytes) {
  seen_by_all_.resize(static_cast<size_t>(bytes));
  for (int64_t i = 0; i < bytes; i += 8) {
    uint64_t all = ~uint64_t{0};
    for (int64_t r = 0; r < rows_; ++r) {
      uint64_t word = 0;
      std::memcpy(&word, bits_.data() + r * bytes + i, sizeof(word));
      all &= word;
    }
    std::memcpy(seen_by_all_.data() + i, &all, sizeof(all));
  }
}

void TileVisibility::HideByDocuments(int64_t begin, int64_t end) {
  const auto& documents = plan_->visibility.documents;
  if (documents == nullptr || !documents->scattered(tile_.batch)) return;
  const int32_t* ids = documents->KeyIds(tile_.batch, begin);
  const int64_t bytes = BytesOf(end - begin);
  for (int64_t r = 0; r < rows_; ++r) {
    simd::KeepEqual(ids, end - begin, documents->QueryId(tile_.batch, PlaceOf(plan_->dims, tile_, r).query),
                    bits_.data() + r * bytes);
  }
}

void TileVisibility::HideByMask(size_t i, int64_t begin, int64_t end) {
  const BroadcastPlan& mask = plan_->masks[i];
  HideByElements(mask, i, begin, end, [&mask](const simd::ElementRows& elements, int64_t n, const simd::BitRows& bits) {
    if (mask.dtype == DataType::kBit) {
      simd::KeepByBit(elements, n, mask.keep, bits);
    } else {
      simd::KeepByBool(elements, n, mask.keep, bits);
    }
  });
}

void TileVisibility::HideByBias(size_t i, int64_t begin, int64_t end) {
  const BroadcastPlan& bias = plan_->biases[i];
  HideByElements(bias, plan_->masks.size() + i, begin, end,
                 [&bias](const simd::ElementRows& elements, int64_t n, const simd::BitRows& bits) {
                   simd::KeepAboveMinusInfinity(elements, bias.dtype, n, bits);
                 });
}

template <typename Keep>
void TileVisibility::HideByElements(const BroadcastPlan& plan, size_t i, int64_t begin, int64_t end, Keep keep) {
  constexpr int64_t kRowsAtOnce = 8;
  const std::byte* const* elements = elements_.data() + static_cast<int64_t>(i) * rows_;
  const int64_t bytes = BytesOf(end - begin);
  if (plan.per_key) {
    for (int64_t r = 0; r < rows_; r += kRowsAtOnce) {
      const int64_t next = std::min(r + kRowsAtOnce, rows_);
      BringNearer(plan, i, next, std::min(kRowsAtOnce, rows_ - next), {begin, end});
      keep({elements + r, RowBytes(plan, begin)}, end - begin, {bits_.data() + r * bytes, bytes, next - r});
    }
    return;
  }
  // One element for all keys of a row.
  one_key_.assign(static_cast<size_t>(rows_), 1);
  keep({elements, 0}, 1, {one_key_.data(), 1, rows_});
  for (int64_t r = 0; r < rows_; ++r) {
    if (one_key_[static_cast<size_t>(r)] == 0) std::memset(bits_.data() + r * bytes, 0, static_cast<size_t>(bytes));
  }
}

}  // namespace attnd
