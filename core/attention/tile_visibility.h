// What the rows of a tile see of a block of keys: the plan's ranges, and inside them masks,
// biases of -inf and documents whose keys lie apart. Engines ask it before any arithmetic.
#ifndef ATTND_CORE_ATTENTION_TILE_VISIBILITY_H_
#define ATTND_CORE_ATTENTION_TILE_VISIBILITY_H_

#include <cstdint>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"

namespace attnd {

// One block of keys as the rows of a tile see it.
struct BlockVisibility {
  enum class Kind { kNone, kSome, kAll };
  Kind kind = Kind::kAll;
  // If kSome, one of the two is set; both per row, relative to the block.
  const KeyRange* ranges = nullptr;
  const uint8_t* bits = nullptr;
  // In bytes.
  int64_t bits_stride = 0;
  // If kSome: a bit per key, 1 where every row sees it.
  const uint8_t* seen_by_all = nullptr;
  // Visible (row, key) pairs.
  int64_t pairs = 0;

  // Whether row `r` sees key `k` of the block.
  [[nodiscard]] bool Sees(int64_t r, int64_t k) const {
    if (kind != Kind::kSome) return kind == Kind::kAll;
    if (bits != nullptr) return (bits[r * bits_stride + k / 8] >> (k % 8) & 1) != 0;
    return ranges[r].begin <= k && k < ranges[r].end;
  }

  // How many of `keys` of the block row `r` sees.
  [[nodiscard]] int64_t CountVisible(int64_t r, KeyRange keys) const;

  // What rows [row, row + rows) see of `keys` of the block. REQUIRES: bits are set, keys.begin is
  // a multiple of 8.
  [[nodiscard]] Kind KindByBits(int64_t row, int64_t rows, KeyRange keys) const;
};

// Thread-compatible. What it returns is valid until the next call.
class TileVisibility {
 public:
  // Turns to a tile. The arguments must outlive the use.
  void Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

  // Keys from the first to the last that some row may see; {0, 0} if there is none.
  [[nodiscard]] KeyRange any() const { return any_; }
  // Keys that every row may see.
  [[nodiscard]] KeyRange all() const { return all_; }

  // Keys that row `r` may see; all that it sees, unless hides_inside().
  [[nodiscard]] KeyRange Keys(int64_t r) const { return row_keys_[static_cast<size_t>(r)]; }

  // Whether masks, biases or documents may hide keys inside the ranges.
  [[nodiscard]] bool hides_inside() const { return inside_; }

  // Keys [begin, end) of the entry. REQUIRES: begin is a multiple of 8.
  BlockVisibility Block(int64_t begin, int64_t end);

  // Brings nearer what Block() will read for rows [row, row + rows) and `keys`.
  void BringNearer(int64_t row, int64_t rows, KeyRange keys) const;

 private:
  [[nodiscard]] bool HidesInside() const;
  void LocateRows();
  // The same of the i-th of masks and then biases.
  void BringNearer(const BroadcastPlan& plan, size_t i, int64_t row, int64_t rows, KeyRange keys) const;
  BlockVisibility BlockByRanges(int64_t begin, int64_t end);
  BlockVisibility BlockByBits(int64_t begin, int64_t end);
  void SetRanges(int64_t begin, int64_t end);
  void HideByDocuments(int64_t begin, int64_t end);
  void HideByMask(size_t i, int64_t begin, int64_t end);
  void HideByBias(size_t i, int64_t begin, int64_t end);
  // Takes what the i-th of masks and then biases hides out of the rows' bits.
  template <typename Keep>
  void HideByElements(const BroadcastPlan& plan, size_t i, int64_t begin, int64_t end, Keep keep);
  void FindSeenByAll(int64_t bytes);

  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  Tile tile_;
  int64_t rows_ = 0;
  // Per row, from the plan.
  std::vector<KeyRange> row_keys_;
  KeyRange any_;
  KeyRange all_;
  bool inside_ = false;
  // Where each row of each mask and then of each bias begins.
  std::vector<const std::byte*> elements_;
  // Per row, relative to the block at hand.
  std::vector<KeyRange> ranges_;
  std::vector<uint8_t> bits_;
  std::vector<uint8_t> seen_by_all_;
  std::vector<uint8_t> one_key_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_TILE_VISIBILITY_H_
