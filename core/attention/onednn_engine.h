// The engine on oneDNN's sgemm (core/linear/onednn.h).
#ifndef ATTND_CORE_ATTENTION_ONEDNN_ENGINE_H_
#define ATTND_CORE_ATTENTION_ONEDNN_ENGINE_H_

#include <cstdint>
#include <memory>

#include "core/attention/engine.h"

namespace attnd {

// Rows of a tile, and of every product: always all of them, zero-padded, because a row's
// bits depend on the number of rows in dnnl_sgemm, and at 48 not on its place among them.
inline constexpr int64_t kOnednnRowsPerTile = 48;

// Makes an engine for the calling thread and sets the thread's OpenMP width to 1:
// parallelism is across tiles.
std::unique_ptr<TileEngine> NewOnednnEngine();

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ONEDNN_ENGINE_H_
