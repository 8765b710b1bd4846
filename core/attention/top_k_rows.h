// The largest weights of the rows of one tile, found a block of keys at a time.
#ifndef ATTND_CORE_ATTENTION_TOP_K_ROWS_H_
#define ATTND_CORE_ATTENTION_TOP_K_ROWS_H_

#include <cstdint>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/tile_visibility.h"

namespace attnd {

// Thread-compatible.
class TopKRows {
 public:
  // Turns to a tile, whose rows' softmax has these sums. Returns whether rows of it are
  // reported. The arguments must outlive the use. REQUIRES: the plan has top_k.
  bool Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* sums);

  // Looks through the weights of row `r` of keys [begin, end), given in ascending order.
  void AddWeights(int64_t r, const BlockVisibility& visible, int64_t begin, int64_t end, const float* weights);

  // Writes the reported rows.
  void End();

 private:
  struct Candidate {
    float weight = 0;
    int64_t key = 0;
  };
  struct Row {
    // Element 0 of the result, or -1.
    int64_t at = -1;
    bool not_a_number = false;
    // Weights up to it cannot be among the largest: there are enough before them.
    float bound = -1;
    std::vector<Candidate> candidates;
  };

  static bool Before(const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.key < b.key;
  }
  void Prune(Row& row) const;

  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  std::vector<Row> rows_;
  int64_t count_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_TOP_K_ROWS_H_
