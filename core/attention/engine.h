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
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/split.h"

namespace attnd {

struct SummaryData;

// Where a problem's tensors are. Not owned. Element types, shapes and strides are the
// plan's; base pointers are 64-byte aligned. What the plan does not have is nullptr.
struct AttentionData {
  const std::byte* query = nullptr;
  const std::byte* key = nullptr;
  const std::byte* value = nullptr;
  // As plan.masks and plan.biases.
  std::vector<const std::byte*> masks;
  std::vector<const std::byte*> biases;
  // [heads].
  const float* alibi_slopes = nullptr;
  const float* sinks = nullptr;
  // Per row, as lse: a logit that takes part in the softmax's denominator as a sink does.
  const float* row_sinks = nullptr;

  std::byte* output = nullptr;
  float* lse = nullptr;
  std::byte* weights = nullptr;
  std::byte* scores = nullptr;
  // Per row of the problem, as lse: maximum and sum of its softmax, which averaging heads
  // needs. nullptr unless plan.mean_weights.
  float* row_max = nullptr;
  float* row_sum = nullptr;
  // Where summaries of weights are gathered. nullptr unless the plan has some.
  const SummaryData* summaries = nullptr;
};

// Rows [row_begin, row_end) of batch entry `batch` and key head `kv_head`, row_end <=
// plan.q_used[batch] * group. The query rows of the head's group are stacked query-major: row
// r is query r / group of head kv_head * group + r % group. So rows of one tile are close in
// position, and a key block is read once for all heads that share it.
struct Tile {
  int64_t batch = 0;
  int64_t kv_head = 0;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  // If not negative, rows are the queries of this head alone.
  int64_t only_head = -1;
};

// The head and query of row `r` of a tile.
struct RowPlace {
  int64_t head = 0;
  int64_t query = 0;
};
inline RowPlace PlaceOf(const Dims& dims, const Tile& tile, int64_t r) {
  const int64_t stacked = tile.row_begin + r;
  if (tile.only_head >= 0) return {tile.only_head, stacked};
  // Divisions take time.
  if (dims.heads == dims.kv_heads) return {tile.kv_head, stacked};
  return {tile.kv_head * dims.group() + stacked % dims.group(), stacked / dims.group()};
}

// Rows without a visible key or with scores of -inf only, rows whose output holds NaN or Inf, and visible (row, key)
// pairs.
struct RowCounts {
  int64_t empty = 0;
  int64_t non_finite = 0;
  int64_t pairs = 0;
};

// Computes tiles. Owns its scratch. Thread-hostile: an instance belongs to the thread
// that made it (oneDNN's primitives do).
class TileEngine {
 public:
  virtual ~TileEngine() = default;

  // Computes `tile` of the problem (plan, data): writes its rows of output, and of lse,
  // weights of each head, scores, row_max and row_sum where data has them, and adds them to
  // the summaries. Other rows are not touched, so tiles of one problem may run at the same time on different engines of
  // one kind, with the same bits as one after the other. Fails with kResourceExhausted when
  // scratch cannot be had and with kInternal when oneDNN fails; rows are then unspecified.
  virtual absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) = 0;

  // Run in two steps, for entries that split.h cuts: adds the keys of one part to `state`,
  // the tile's rows' state of the parts before or of none, and returns visible pairs.
  virtual absl::StatusOr<int64_t> AddPart(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                          KeyRange keys, const simd::RowState& state) = 0;
  // Writes what Run does, given the state of all parts, which is used up. Counts no pairs.
  virtual absl::StatusOr<RowCounts> Finish(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                           const simd::RowState& state) = 0;

  // Writes the weights of queries [q_begin, q_end) of entry `batch` averaged over all heads;
  // at most RowsPerTile(kind, plan) queries. REQUIRES: plan.mean_weights, and Run has written
  // row_max and row_sum for these queries of every head.
  virtual absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                                   int64_t q_end) = 0;

 protected:
  // Run for an entry that is cut: its parts one after the other.
  absl::StatusOr<RowCounts> RunParts(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                                     const KeyParts& parts);

 private:
  Scratch merged_;
};

enum class EngineKind { kOnednn, kFused };

// "onednn", "fused".
const char* EngineName(EngineKind kind);
// Names accepted by ParseEngine, `auto` first.
std::vector<std::string> EngineNames();
// Resolves a name; `auto` is the engine that was measured to be the fastest on every row of
// ./dev bench, whatever the machine. Fails with kInvalidArgument.
absl::StatusOr<EngineKind> ParseEngine(std::string_view name);

// The calling thread's engine of that kind, made at first use. Lives as long as the thread.
TileEngine& EngineForThisThread(EngineKind kind);

// Rows that an engine of that kind computes for the `rows` rows of an entry and key head,
// those included that only fill up its vectors or products.
int64_t ComputedRows(EngineKind kind, int64_t rows);

// Most rows of a tile of the problem for an engine of that kind.
int64_t RowsPerTile(EngineKind kind, const AttentionPlan& plan);

// Instruction set that the kernels use, such as "AVX2" or "AVX512".
std::string KernelIsa();
// "2.6.3".
std::string OnednnVersion();
// Identity of the arithmetic: equal requests give equal bits wherever this is equal.
std::string NumericsId(EngineKind kind);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ENGINE_H_
