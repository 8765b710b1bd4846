// The engine whose products and softmax are vector loops of our own.
#ifndef ATTND_CORE_ATTENTION_FUSED_ENGINE_H_
#define ATTND_CORE_ATTENTION_FUSED_ENGINE_H_

#include <cstdint>
#include <memory>

#include "core/attention/engine.h"

namespace attnd {

inline constexpr int64_t kFusedRowsPerTile = 32;

std::unique_ptr<TileEngine> NewFusedEngine();

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_FUSED_ENGINE_H_
