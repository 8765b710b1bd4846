// Tiles by way of row-major blocks of scores: the flow around two matrix products, in which
// engines differ.
#ifndef ATTND_CORE_ATTENTION_ROW_TILES_H_
#define ATTND_CORE_ATTENTION_ROW_TILES_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/engine.h"
#include "core/attention/float_rows.h"
#include "core/attention/pair_results.h"
#include "core/attention/plan.h"
#include "core/attention/score_blocks.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/split.h"
#include "core/attention/tile_visibility.h"

namespace attnd {

// The two products over the query rows of one tile.
class RowProducts : public ScoreProducts {
 public:
  // acc[r] += the sum of p[r, k - begin] value_k for keys [begin, end). REQUIRES: p is 0
  // behind a row's keys, up to whole multiples of simd::kRowMultiple.
  virtual absl::Status AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin, int64_t end,
                                 float* acc, int64_t acc_stride) = 0;
};

// As thread-hostile as its products.
class RowTiles {
 public:
  explicit RowTiles(std::unique_ptr<RowProducts> products)
      : products_(std::move(products)), blocks_(products_.get()), pairs_(products_.get()) {}

  // All as TileEngine's, for tiles of any number of rows; Run for entries that are not cut.
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);
  absl::StatusOr<int64_t> AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, KeyRange keys,
                                  const simd::RowState& state);
  absl::StatusOr<RowCounts> Finish(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                   const simd::RowState& state);
  absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                           int64_t q_end) {
    return pairs_.WriteMean(plan, data, batch, q_begin, q_end);
  }

 private:
  // The tile's softmax over `keys`, into State(). Returns visible pairs.
  absl::StatusOr<int64_t> Compute(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                  KeyRange keys);
  absl::Status AddBlock(int64_t begin, int64_t end, int64_t* pairs);
  absl::Status AddValues(const BlockVisibility& visible, const simd::ScoreBlock& block, int64_t begin);
  // Marks in poison_ the keys that some row does not see and whose values are not all
  // finite; returns whether there are any.
  bool FindPoison(const BlockVisibility& visible, int64_t begin, int64_t end);
  [[nodiscard]] bool AccFinite() const;
  absl::Status AddPoisonedValues(const BlockVisibility& visible, const simd::ScoreBlock& block, int64_t begin);

  [[nodiscard]] simd::RowState State() { return {max_.data(), sum_.data(), acc_.data(), acc_stride_}; }
  [[nodiscard]] bool Poisoned(int64_t k) const { return (poison_[static_cast<size_t>(k / 8)] >> (k % 8) & 1) != 0; }

  const std::unique_ptr<RowProducts> products_;
  ScoreBlocks blocks_;
  PairResults pairs_;
  TokenRows value_;
  float scale_ = 1;
  // Whether scores need more than the scale.
  bool staged_ = false;
  FloatRowsLoader values_;
  Scratch acc_;
  // Before the values of the block at hand.
  Scratch acc_before_;
  Scratch clean_values_;
  std::vector<float> max_;
  std::vector<float> sum_;
  // A bit per key of a block, and the same per row.
  std::vector<uint8_t> poison_;
  std::vector<uint8_t> seen_poison_;
  int64_t acc_stride_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ROW_TILES_H_
