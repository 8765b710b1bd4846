// Row-major blocks of a tile's scores, by whatever product an engine has.
#ifndef ATTND_CORE_ATTENTION_SCORE_BLOCKS_H_
#define ATTND_CORE_ATTENTION_SCORE_BLOCKS_H_

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/attention/float_rows.h"
#include "core/attention/plan.h"
#include "core/attention/score_stages.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/tile_visibility.h"

namespace attnd {

// The product of queries and keys over the query rows of one tile. Rows are 64-byte aligned,
// and their strides multiples of simd::kRowMultiple. As thread-hostile as its engine.
class ScoreProducts {
 public:
  virtual ~ScoreProducts() = default;

  // Keys per block, a multiple of simd::kRowMultiple: a constant of the shape.
  [[nodiscard]] virtual int64_t KeyBlock(const Dims& dims) const = 0;
  // Rows that a product of `rows` rows writes.
  [[nodiscard]] virtual int64_t RowsWritten(int64_t rows) const { return rows; }

  // Turns to the query rows of a tile.
  virtual absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) = 0;

  // scores[r, k - begin] = q_r . key_k for keys [begin, end), unscaled. More may be written
  // behind a row's keys, up to whole multiples of simd::kRowMultiple.
  virtual absl::Status Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) = 0;
};

// The query rows of a tile as float32, `stride` floats from one to the next.
void LoadQueryRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, float* rows, int64_t stride);

// Keys and values of a tile's batch entry and key head.
TokenRows KeysOf(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);
TokenRows ValuesOf(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

// As thread-hostile as its products, which must outlive it.
class ScoreBlocks {
 public:
  explicit ScoreBlocks(ScoreProducts* products) : products_(products) {}

  // Turns to a tile. The arguments must outlive the use.
  absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

  [[nodiscard]] int64_t rows() const { return rows_; }
  [[nodiscard]] const TokenRows& key() const { return key_; }
  [[nodiscard]] TileVisibility& visibility() { return visibility_; }
  [[nodiscard]] ScoreStages& stages() { return stages_; }
  [[nodiscard]] int64_t stride() const { return stride_; }
  [[nodiscard]] float* row(int64_t r) { return scores_.data() + r * stride_; }

  // Calls step(begin, end) for the blocks that cover `keys`, in order, until one fails.
  // Blocks end at multiples of the key block; the first begins at whole vectors.
  template <typename Step>
  absl::Status ForEach(KeyRange keys, Step step) const {
    if (keys.empty()) return absl::OkStatus();
    int64_t begin = keys.begin / simd::kRowMultiple * simd::kRowMultiple;
    while (begin < keys.end) {
      const int64_t end = std::min((begin / key_block_ + 1) * key_block_, keys.end);
      if (absl::Status status = step(begin, end); !status.ok()) return status;
      begin = end;
    }
    return absl::OkStatus();
  }

  // Raw scores of keys [begin, end), at most a block.
  absl::Status Compute(int64_t begin, int64_t end) {
    return products_->Scores(key_, begin, end, scores_.data(), stride_);
  }

 private:
  ScoreProducts* const products_;
  TokenRows key_;
  TileVisibility visibility_;
  ScoreStages stages_;
  Scratch scores_;
  int64_t rows_ = 0;
  int64_t key_block_ = 1;
  int64_t stride_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_SCORE_BLOCKS_H_
