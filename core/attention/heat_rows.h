// The rows of one tile pooled into the cells of a heatmap, a block of keys at a time.
#ifndef ATTND_CORE_ATTENTION_HEAT_ROWS_H_
#define ATTND_CORE_ATTENTION_HEAT_ROWS_H_

#include <cstdint>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/tile_visibility.h"

namespace attnd {

// Thread-compatible.
class HeatRows {
 public:
  // Turns to a tile, whose rows' softmax has these sums; rows where it is NaN are passed over.
  // The arguments must outlive the use. REQUIRES: the plan has a heatmap.
  void Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* sums);

  // Adds the weights of row `r` of keys [begin, end). Rows of a block come one after the other.
  void AddWeights(int64_t r, const BlockVisibility& visible, int64_t begin, int64_t end, const float* weights);

  // Hands on what rows added since the last call.
  void Flush();

 private:
  [[nodiscard]] bool OwnsCellRow() const;

  // Of cells of one row of them.
  struct Sum {
    double sum = 0;
    int64_t pairs = 0;
    float max = 0;
  };

  [[nodiscard]] int64_t CellOf(int64_t key) const { return ((key + 1) * across_ - 1) / kv_len_; }

  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  Tile tile_;
  const float* sums_ = nullptr;
  int64_t kv_len_ = 0;
  int64_t down_ = 0;
  int64_t across_ = 0;
  // First keys of the cells, and kv_len behind the last.
  std::vector<int64_t> bounds_;
  // The row of cells at hand, and what of it was added, [heads of the group][across].
  int64_t cell_row_ = -1;
  std::vector<Sum> cells_;
  // Cells that have been added to.
  int64_t begin_ = 0;
  int64_t end_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_HEAT_ROWS_H_
