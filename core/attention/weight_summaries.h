// The rows of a tile on their way into summaries, whatever these are.
#ifndef ATTND_CORE_ATTENTION_WEIGHT_SUMMARIES_H_
#define ATTND_CORE_ATTENTION_WEIGHT_SUMMARIES_H_

#include <cstdint>

#include "core/attention/engine.h"
#include "core/attention/heat_rows.h"
#include "core/attention/plan.h"
#include "core/attention/tile_visibility.h"
#include "core/attention/top_k_rows.h"
#include "core/attention/weight_statistics.h"

namespace attnd {

// Thread-compatible.
class WeightSummaries {
 public:
  // Turns to a tile, whose rows' softmax has these sums. Returns whether its weights are
  // wanted; without `statistics` not for these. The arguments must outlive the use.
  bool Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* sums,
             bool statistics);

  // Adds the weights of row `r` of the block of keys [begin, end), 0 where they are hidden. Blocks
  // and the rows of a block come in order.
  void AddWeights(int64_t r, const BlockVisibility& visible, int64_t begin, int64_t end, const float* weights);

  // All rows of the block have been added.
  void EndBlock(int64_t begin, int64_t end);
  // All blocks have been added.
  void End();

 private:
  bool has_statistics_ = false;
  bool has_top_k_ = false;
  bool has_heatmap_ = false;
  WeightStatistics statistics_;
  TopKRows top_k_;
  HeatRows heat_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_WEIGHT_SUMMARIES_H_
