// The engine whose products and softmax are vector loops of our own.
#ifndef ATTND_CORE_ATTENTION_FUSED_ENGINE_H_
#define ATTND_CORE_ATTENTION_FUSED_ENGINE_H_

#include <cstdint>
#include <memory>

#include "core/attention/engine.h"

namespace attnd {

// Rows of an entry and key head, all queries and heads of the group together, up to which keys
// and values are what is waited for: then they are read once by products that need no
// transposed queries. The two ways differ in bits, so it is a constant.
inline constexpr int64_t kFusedThinRows = 4;

// As ComputedRows in engine.h.
int64_t FusedComputedRows(int64_t rows);

// Rows of a tile. Bits do not depend on it.
int64_t FusedRowsPerTile(const AttentionPlan& plan);

std::unique_ptr<TileEngine> NewFusedEngine();

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_FUSED_ENGINE_H_
