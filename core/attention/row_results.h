// The end of a tile: softmax state becomes output, LSE and what averaging heads needs.
// Shared by engines.
#ifndef ATTND_CORE_ATTENTION_ROW_RESULTS_H_
#define ATTND_CORE_ATTENTION_ROW_RESULTS_H_

#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/simd.h"

namespace attnd {

// What is left to do for the output of a row.
struct RowEnd {
  // Whether there was nothing to weigh: the output is 0.
  bool empty;
  // Factor on the accumulated values before they are divided by the sum.
  float keep;
};

// Lets the sink of the row's head take part in its `max` and `sum`, which are the final ones
// afterwards, and writes lse, row_max and row_sum where `data` has them.
RowEnd EndRow(const AttentionPlan& plan, const AttentionData& data, int64_t batch, const RowPlace& place, float* max,
              float* sum);

// Lets the sinks take part in `state`, whose max and sum are the final ones afterwards, and
// writes the tile's rows of output, lse, row_max and row_sum where `data` has them.
// Returns counts without pairs. acc is used as scratch.
RowCounts WriteRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                    const simd::RowState& state);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ROW_RESULTS_H_
