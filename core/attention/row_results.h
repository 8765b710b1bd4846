// The end of a tile: softmax state becomes output, LSE and what averaging heads needs.
// Shared by engines.
#ifndef ATTND_CORE_ATTENTION_ROW_RESULTS_H_
#define ATTND_CORE_ATTENTION_ROW_RESULTS_H_

#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/simd.h"

namespace attnd {

// Lets the sinks take part in `state`, whose max and sum are the final ones afterwards, and
// writes the tile's rows of output, lse, row_max and row_sum where `data` has them.
// Returns counts without pairs. acc is used as scratch.
RowCounts WriteRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                    const simd::RowState& state);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ROW_RESULTS_H_
