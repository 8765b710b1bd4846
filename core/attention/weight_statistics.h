// Statistics of the rows of one tile, from their weights, a block of keys at a time.
#ifndef ATTND_CORE_ATTENTION_WEIGHT_STATISTICS_H_
#define ATTND_CORE_ATTENTION_WEIGHT_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"
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

  // Adds the weights of row `r` of keys [begin, end): factor * p[k - begin], 0 where a key is hidden.
  void AddWeights(int64_t r, int64_t begin, int64_t end, const float* p, float factor);
  // Adds to the row's entropy.
  void AddEntropy(int64_t r, double entropy) { rows_[static_cast<size_t>(r)].entropy += entropy; }
  [[nodiscard]] bool passed_over(int64_t r) const { return rows_[static_cast<size_t>(r)].passed_over; }

  // Hands on what the keys [begin, end) got from the rows since the last call. Rows that are
  // handed on together are added in their order.
  void FlushColumns(int64_t begin, int64_t end);

  // Writes the rows.
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
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_WEIGHT_STATISTICS_H_
