// Tiles by way of row-major blocks of scores: the flow around two matrix products, and the
// second pass that weights and scores take. Engines differ in the products.
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
#include "core/attention/plan.h"
#include "core/attention/score_stages.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/tile_visibility.h"

namespace attnd {

// The products over the query rows of one tile. Rows are 64-byte aligned, and their strides
// multiples of simd::kRowMultiple. As thread-hostile as its engine.
class RowProducts {
 public:
  virtual ~RowProducts() = default;

  // Keys per block, a multiple of simd::kRowMultiple: a constant of the shape.
  [[nodiscard]] virtual int64_t KeyBlock(const Dims& dims) const = 0;
  // Rows that a product of `rows` rows writes.
  [[nodiscard]] virtual int64_t RowsWritten(int64_t rows) const { return rows; }

  // Turns to the query rows of a tile.
  virtual absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) = 0;

  // scores[r, k - begin] = q_r . key_k for keys [begin, end), unscaled. More may be written
  // behind a row's keys, up to whole multiples of simd::kRowMultiple.
  virtual absl::Status Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) = 0;

  // acc[r] += the sum of p[r, k - begin] value_k for keys [begin, end). REQUIRES: p is 0
  // behind a row's keys, up to whole multiples of simd::kRowMultiple.
  virtual absl::Status AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin, int64_t end,
                                 float* acc, int64_t acc_stride) = 0;
};

// The query rows of a tile as float32, `stride` floats from one to the next.
void LoadQueryRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, float* rows, int64_t stride);

// As thread-hostile as its products.
class RowTiles {
 public:
  explicit RowTiles(std::unique_ptr<RowProducts> products) : products_(std::move(products)) {}

  // Both as TileEngine's, for tiles of any number of rows.
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);
  absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                           int64_t q_end);

  // The tile's rows of scores and of each head's weights, where `data` has them. `max` and
  // `sum` are those of each row's softmax, sinks included.
  absl::Status WritePairs(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* max,
                          const float* sum);

 private:
  // Everything about the tile at hand that its steps share.
  struct Context {
    const AttentionPlan& plan;
    const AttentionData& data;
    const Tile& tile;
    TokenRows key;    // of this batch entry and key head
    TokenRows value;  // of this batch entry and key head
    int64_t rows;
    int64_t key_block;
    bool staged;  // whether scores need more than the scale
  };

  absl::StatusOr<Context> Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

  // Calls step(begin, end) for the blocks that cover `keys`, in order, until one fails.
  // Blocks end at multiples of key_block; the first begins at whole vectors.
  template <typename Step>
  static absl::Status ForBlocks(const Context& c, KeyRange keys, Step step);

  // Raw scores of keys [begin, end).
  absl::Status Scores(const Context& c, int64_t begin, int64_t end);
  absl::Status AddBlock(const Context& c, int64_t begin, int64_t end, int64_t* pairs);
  absl::Status AddValues(const Context& c, const BlockVisibility& visible, const simd::ScoreBlock& block,
                         int64_t begin);
  // Marks in poison_ the keys that some row does not see and whose values are not all
  // finite; returns whether there are any.
  bool FindPoison(const Context& c, const BlockVisibility& visible, int64_t begin, int64_t end);
  absl::Status AddPoisonedValues(const Context& c, const BlockVisibility& visible, const simd::ScoreBlock& block,
                                 int64_t begin);

  // Replaces the scores of row `r` by its weights: exp(score - max) / sum where visible.
  void ToWeights(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end, float max, float sum);
  absl::Status WritePairs(const Context& c, const float* max, const float* sum);
  absl::Status WriteWeights(const Context& c, const float* max, const float* sum);
  absl::Status WriteScores(const Context& c);
  void WriteScoreRow(const Context& c, const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end);
  absl::Status MeanBlock(const AttentionPlan& plan, const AttentionData& data, const Tile& queries, int64_t begin,
                         int64_t end);

  [[nodiscard]] float* ScoreRow(int64_t r) { return scores_.data() + r * score_stride_; }
  [[nodiscard]] simd::RowState State() { return {max_.data(), sum_.data(), acc_.data(), acc_stride_}; }
  [[nodiscard]] bool Poisoned(int64_t k) const { return (poison_[static_cast<size_t>(k / 8)] >> (k % 8) & 1) != 0; }

  const std::unique_ptr<RowProducts> products_;
  TileVisibility visibility_;
  ScoreStages stages_;
  FloatRowsLoader values_;
  Scratch scores_;
  Scratch acc_;
  Scratch mean_;
  Scratch clean_values_;
  std::vector<float> max_;
  std::vector<float> sum_;
  // A bit per key of a block, and the same per row.
  std::vector<uint8_t> poison_;
  std::vector<uint8_t> seen_poison_;
  int64_t score_stride_ = 0;
  int64_t acc_stride_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ROW_TILES_H_
