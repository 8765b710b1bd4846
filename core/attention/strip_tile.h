// The fused engine's way through a tile of many rows: strips of rows (simd_strip.h) meet the
// keys a block at a time. Scores of a strip and a block never leave the first cache; keys
// and values are read from the second by all strips of the tile, as they lie in memory.
#ifndef ATTND_CORE_ATTENTION_STRIP_TILE_H_
#define ATTND_CORE_ATTENTION_STRIP_TILE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/score_stages.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/simd_strip.h"
#include "core/attention/strip_statistics.h"
#include "core/attention/tile_visibility.h"
#include "core/attention/token_block.h"

namespace attnd {

// Thread-compatible.
class StripTile {
 public:
  // Computes the tile's rows of output, lse, row_max and row_sum, as TileEngine::Run does, and
  // adds them to the plan's statistics if StripStatistics serve the entry.
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

  // As TileEngine's.
  absl::StatusOr<int64_t> AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, KeyRange keys,
                                  const simd::RowState& state);

  // Maximum and sum of the softmax of each row of the tile that was run last, sinks included.
  [[nodiscard]] const float* max() const { return row_max_.data(); }
  [[nodiscard]] const float* sum() const { return row_sum_.data(); }

 private:
  // Rows [row, row + rows) of the tile, in transposed form.
  struct Strip {
    int64_t row = 0;
    int64_t rows = 0;
    int64_t width = 0;
    // Keys that some, and that all of the rows may see.
    KeyRange any;
    KeyRange all;
    float* query = nullptr;   // [head_dim, width], or pairs
    float* acc = nullptr;     // [value_dim, width]
    float* max = nullptr;     // [width]
    float* sum = nullptr;     // [width]
    float* moment = nullptr;  // [width], as StripSoftmaxMoment has it, for statistics
    bool empty = true;        // whether no block has been added
  };

  // A run of keys of a block as a strip sees it.
  struct Part {
    KeyRange keys;
    bool seen_by_all;
  };

  void Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);
  // Makes the strips and lets them see `keys`. Returns visible pairs.
  absl::StatusOr<int64_t> Compute(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                  KeyRange keys);
  // Blocks end at multiples of a number of keys.
  [[nodiscard]] KeyRange BlockFrom(int64_t begin) const;
  absl::Status MakeStrips();
  void Softmax(const Strip& strip, KeyRange keys);
  void SeeKeys(Strip& strip) const;
  void LoadQuery(const Strip& strip);
  absl::Status AddBlock(KeyRange block);
  absl::Status AddToStrip(Strip& strip, KeyRange block);
  // Turns to what the strip sees of `keys` of the block.
  void LoadBits(const Strip& strip, KeyRange keys);
  void Score(const Strip& strip, KeyRange keys, float* max);
  // The i-th of n parts of what visibility of the next block will read for the strip.
  void BringMasksNearer(const Strip& strip, int64_t i, int64_t n) const;
  // What a strip should bring nearer while it reads keys, and values.
  [[nodiscard]] const std::byte* SoonAtScores(const Strip& strip, KeyRange keys) const;
  [[nodiscard]] const std::byte* SoonAtValues(const Strip& strip, KeyRange keys) const;
  void ApplyStages(const Strip& strip, KeyRange keys);
  void Hide(const Strip& strip, KeyRange keys);
  absl::Status AddValues(Strip& strip, KeyRange keys, const Part (&parts)[3]);
  absl::Status AddPoisonedValues(Strip& strip, KeyRange keys);
  bool ValuesFinite(KeyRange keys);
  [[nodiscard]] bool Sees(const Strip& strip, int64_t r, int64_t key) const;
  // The strip's rows as a tile of their own.
  [[nodiscard]] Tile TileOf(const Strip& strip) const;
  [[nodiscard]] bool EvenlyApart(const Strip& strip) const;
  RowCounts Finish(const Strip& strip);
  RowCounts WriteFloats(const Strip& strip);
  RowCounts WriteConverted(const Strip& strip);

  // Of the strip and block at hand: scores, later weights, of `keys` from `first_key_` on.
  [[nodiscard]] float* ScoresAt(const Strip& strip, int64_t key) const {
    return block_scores_ + (key - first_key_) * strip.width;
  }

  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  Tile tile_;
  TokenBlock key_;
  TokenBlock value_;
  // Whether scores need more than the scale.
  bool staged_ = false;
  bool in_pairs_ = false;

  TileVisibility visibility_;
  ScoreStages stages_;
  std::vector<Strip> strips_;
  // Keys that the tile sees, of those that are asked for.
  KeyRange keys_;
  // The block at hand, and the one that follows, empty behind the last.
  KeyRange block_;
  KeyRange next_block_;
  // Whether all of its values are finite, once a strip has asked.
  std::optional<bool> block_finite_;
  BlockVisibility block_visibility_;
  int64_t first_key_ = 0;
  // In scores_, or where statistics keep them.
  float* block_scores_ = nullptr;
  bool keeps_ = false;

  Scratch strip_memory_;
  Scratch scores_;
  Scratch rows_;
  Scratch clean_values_;
  std::vector<uint32_t> bits_;
  std::vector<float> row_max_;
  std::vector<float> row_sum_;
  StripStatistics statistics_;
  alignas(64) float block_max_[simd::kMaxStripWidth] = {};
  alignas(64) float ignored_max_[simd::kMaxStripWidth] = {};
  alignas(64) float alpha_[simd::kMaxStripWidth] = {};
  alignas(64) float keep_[simd::kMaxStripWidth] = {};
  alignas(64) float key_sum_[simd::kMaxStripWidth] = {};
  alignas(64) int32_t begin_[simd::kMaxStripWidth] = {};
  alignas(64) int32_t end_[simd::kMaxStripWidth] = {};
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_STRIP_TILE_H_
