// The tile interface. Attention is cut into tiles: blocks of query rows of one batch
// entry and one key head. An engine computes one tile at a time, start to end: scores,
// online softmax, output, and the LSE and weights that were asked for.
//
// Everything an engine must agree on with the others is here and in plan.h: how rows are
// stacked, what is visible, where results go. What it may choose freely: key blocks (as
// constants of ISA, dtype and shape, anchored at key 0), packing, instruction sets.
#ifndef ATTND_CORE_ATTENTION_ENGINE_H_
#define ATTND_CORE_ATTENTION_ENGINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/plan.h"

namespace attnd {

// Where a problem's tensors are. Not owned. float32, strides from the plan; base
// pointers 64-byte aligned. lse is [batch, heads, q_len], weights
// [batch, heads, q_len, kv_len], both nullptr unless the plan asks for them.
struct AttentionData {
  const float* query = nullptr;
  const float* key = nullptr;
  const float* value = nullptr;
  float* output = nullptr;
  float* lse = nullptr;
  float* weights = nullptr;
};

// Rows [row_begin, row_end) of batch entry `batch` and key head `kv_head`. The query
// rows of the head's group are stacked query-major: row r is query r / group of head
// kv_head * group + r % group. So rows of one tile are close in position, and a key
// block is read once for all heads that share it.
struct Tile {
  int64_t batch = 0;
  int64_t kv_head = 0;
  int64_t row_begin = 0;
  int64_t row_end = 0;
};

// Rows without a visible key, and rows whose output holds NaN or Inf.
struct RowCounts {
  int64_t empty = 0;
  int64_t non_finite = 0;
};

// Computes tiles. Owns its scratch. Thread-hostile: an instance belongs to the thread
// that made it (oneDNN's primitives do).
class TileEngine {
 public:
  virtual ~TileEngine() = default;

  // Most rows in a tile. A constant of the engine.
  [[nodiscard]] virtual int64_t rows_per_tile() const = 0;

  // Computes `tile` of the problem (plan, data): writes its rows of output and of lse
  // and weights where data has them. Other rows are not touched, so tiles of one problem
  // may run at the same time on different engines of one kind, with the same bits as one
  // after the other. Fails with kResourceExhausted when scratch cannot be had and with
  // kInternal when oneDNN fails; rows are then unspecified.
  virtual absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) = 0;
};

enum class EngineKind { kOnednn };

// "onednn".
const char* EngineName(EngineKind kind);
// Names accepted by ParseEngine, `auto` first.
std::vector<std::string> EngineNames();
// Resolves a name; `auto` by the compiled-in table. Fails with kInvalidArgument.
absl::StatusOr<EngineKind> ParseEngine(std::string_view name);

// The calling thread's engine of that kind, made at first use. Lives as long as the thread.
TileEngine& EngineForThisThread(EngineKind kind);

// Rows per tile of that kind; what EngineForThisThread(kind).rows_per_tile() returns.
int64_t RowsPerTile(EngineKind kind);

// Instruction set that the kernels use, such as "AVX2" or "AVX512".
std::string KernelIsa();
// "2.6.3".
std::string OnednnVersion();
// Identity of the arithmetic: equal requests give equal bits wherever this is equal.
std::string NumericsId(EngineKind kind);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ENGINE_H_
