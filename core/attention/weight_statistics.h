// Statistics of the rows of one tile, from their weights, a block of keys at a time.
#ifndef ATTND_CORE_ATTENTION_WEIGHT_STATISTICS_H_
#define ATTND_CORE_ATTENTION_WEIGHT_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/simd_weights.h"
#include "core/attention/summaries.h"
#include "core/attention/tile_visibility.h"

namespace attnd {

// Thread-compatible.
class WeightStatistics {
 public:
  // Turns to a tile. The arguments must outlive the use. REQUIRES: the plan has diagnostics.
  void Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

  // Passes over rows whose softmax has a sum of NaN: their weights need not come.
  void PassOverNan(const float* sums);

  // Counts what row `r` sees of the block of keys [begin, end), of which `visible` tells by
  // `visible_row`.
  void AddVisible(int64_t r, const BlockVisibility& visible, int64_t visible_row, int64_t begin, int64_t end);
  // The same for a row that sees the keys of a range.
  void AddVisible(int64_t r, KeyRange keys);

  // Adds the weights of row `r` of keys [begin, end), 0 where a key is hidden.
  void AddWeights(int64_t r, int64_t begin, int64_t end, const float* weights);
  // Adds to the row's entropy.
  void AddEntropy(int64_t r, double entropy) { rows_[static_cast<size_t>(r)].entropy += entropy; }

  // The parts of AddWeights, for those who know the sums: of the weights factor * p[(k - begin)
  // * stride] what keys at certain places get, ...
  void AddPlaces(int64_t r, int64_t begin, int64_t end, const float* p, int64_t stride, float factor);
  // ... sums of the row, ...
  void AddSums(int64_t r, const simd::WeightSums& sums);
  // ... and where keys [begin, end) take theirs, [heads of the group][columns_stride()].
  float* Columns(int64_t begin, int64_t end);
  [[nodiscard]] int64_t columns_stride() const { return columns_stride_; }

  // The key at the row's position.
  [[nodiscard]] int64_t position(int64_t r) const { return rows_[static_cast<size_t>(r)].position; }
  // Among the heads of the group.
  [[nodiscard]] int64_t head(int64_t r) const { return rows_[static_cast<size_t>(r)].head; }
  [[nodiscard]] bool passed_over(int64_t r) const { return rows_[static_cast<size_t>(r)].passed_over; }

  // Puts away what the keys [begin, end) got from the rows since the last call, in the order of
  // the rows, which must be the same for whatever tiles.
  void FlushColumns(int64_t begin, int64_t end);

  // Writes the rows and hands on what keys got.
  void End();

 private:
  struct Row {
    double entropy = 0;
    double total = 0;
    double distance = 0;
    double self = 0;
    double previous = 0;
    double next = 0;
    double first = 0;
    double window = 0;
    float largest = 0;
    int64_t visible = 0;
    int64_t in_window = 0;
    // The key at the row's position.
    int64_t position = 0;
    int64_t head = 0;
    bool passed_over = false;
  };

  [[nodiscard]] KeyRange WindowOf(const Row& row) const;
  void Write(const Row& row, int64_t at) const;

  const AttentionPlan* plan_ = nullptr;
  const SummaryData* data_ = nullptr;
  Tile tile_;
  KeyRange first_keys_;
  std::vector<Row> rows_;
  // [heads of the group][keys of a block].
  std::vector<float> columns_;
  int64_t columns_stride_ = 0;
  // Of the tile, in fixed point, [heads of the group][kv_len].
  std::vector<int64_t> sums_;
  double parts_ = 1;
  int64_t kv_len_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_WEIGHT_STATISTICS_H_
