// How rows are cut into tiles and strips (simd_strip.h).
#ifndef ATTND_CORE_ATTENTION_STRIP_ROWS_H_
#define ATTND_CORE_ATTENTION_STRIP_ROWS_H_

#include <cstdint>

#include "core/attention/plan.h"

namespace attnd {

// Rows per tile: whole strips, as many as fit a step of about 2 ms, so that a block of keys
// serves many rows, but not so many that few tiles are left. Bits do not depend on it.
int64_t StripRowsPerTile(const AttentionPlan& plan);

// Whether the products of the entry's rows are those of simd_pairs.h: when there are few in all,
// so that a row's bits do not depend on the strip it is in.
bool StripInPairs(const AttentionPlan& plan, int64_t batch);

// Rows of the next strip of `left`, > 0: as many as there are, unless two narrower strips are narrower
// together than one.
int64_t StripRows(int64_t left);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_STRIP_ROWS_H_
