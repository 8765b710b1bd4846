// The second pass over a tile's scores, for the results that have an element per (query, key)
// pair: scores at a stage, weights of each head, and weights averaged over heads; and for
// summaries of weights.
#ifndef ATTND_CORE_ATTENTION_PAIR_RESULTS_H_
#define ATTND_CORE_ATTENTION_PAIR_RESULTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/score_blocks.h"
#include "core/attention/scratch.h"
#include "core/attention/tile_visibility.h"
#include "core/attention/weight_summaries.h"

namespace attnd {

// As thread-hostile as its products, which must outlive it.
class PairResults {
 public:
  explicit PairResults(ScoreProducts* products) : products_(products), blocks_(products) {}

  // Writes the tile's rows of scores and of each head's weights, where `data` has them, and
  // adds them to summaries. `max` and `sum` are those of each row's softmax, sinks included.
  // With has_statistics, diagnostics have got theirs already.
  absl::Status Write(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* max,
                     const float* sum, bool has_statistics = false);

  // As TileEngine::MeanWeights.
  absl::Status WriteMean(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                         int64_t q_end);

 private:
  // What a row's softmax is relative to.
  struct RowSoftmax {
    float max;
    float sum;
  };

  absl::Status WriteWeights(const float* max, const float* sum);
  absl::Status Summarize(const float* max, const float* sum);
  absl::Status WriteScores();
  void WriteScoreRow(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end);
  // Replaces the scores of row `r` by its weights: exp(score - max) / sum where visible.
  void ToWeights(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end, RowSoftmax softmax);
  absl::Status AddToMean(const Tile& queries, int64_t head, int64_t begin, int64_t end);
  void StoreMean(const Tile& queries, int64_t begin, int64_t end);

  ScoreProducts* const products_;
  ScoreBlocks blocks_;
  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  Tile tile_;
  WeightSummaries summaries_;
  Scratch mean_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_PAIR_RESULTS_H_
