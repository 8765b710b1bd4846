// A checked request: every size known, every default filled in. Grows with the lists of a
// request, not with its tensors.
#ifndef ATTND_CORE_ATTENTION_PLAN_H_
#define ATTND_CORE_ATTENTION_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/layout.h"
#include "core/attention/per_entry.h"
#include "core/attention/request.h"
#include "core/attention/visibility.h"

namespace attnd {

// Extents in elements. heads is a multiple of kv_heads: query head h uses key head
// h / (heads / kv_heads). batch, q_len and kv_len may be 0, the others are >= 1. In a
// packed request batch is the number of sequences, q_len and kv_len are those of the
// longest.
struct Dims {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t q_len = 0;
  int64_t kv_len = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;

  // Query heads per key head.
  [[nodiscard]] int64_t group() const { return heads / kv_heads; }
};

// A tensor broadcast over [batch, heads, q_len, kv_len]: what a step along a dimension
// adds to the byte offset, 0 where one element serves all.
struct BroadcastPlan {
  DataType dtype = DataType::kFloat32;
  int64_t batch = 0;
  int64_t head = 0;
  int64_t query = 0;
  // Whether there is an element per key; else one serves all.
  bool per_key = true;
  // Masks: what hides a key is a 0 (keep) or a 1.
  bool keep = true;
  int64_t bytes = 0;
};

// Rotation of query and key by position.
struct RopePlan {
  RopeStyle style = RopeStyle::kHalf;
  int64_t rotary_dim = 0;
  double theta = 10000;
  double scaling_factor = 1;
  // One per token, entry after entry; empty: counted from the plan's.
  std::vector<int64_t> query_positions;
  std::vector<int64_t> key_positions;
};

// A query row whose weights are reported, and its place among the reported ones of its
// entry. In a packed request `query` counts from the start of the packed tensor.
struct ListedRow {
  int64_t query = 0;
  int64_t slot = 0;
};

// A result of one row of kv_len elements per (entry, head, query): attention weights or
// scores. Entry blocks [heads, rows, kv_len] one after the other.
struct PairOutputPlan {
  // 1 when heads are averaged.
  int64_t heads = 0;
  // Of an entry.
  PerEntry rows;
  // Elements before an entry's block; unset: all blocks are of one size.
  std::vector<int64_t> starts;
  int64_t elements = 0;
  std::vector<int64_t> shape;
};

// The largest weights of rows.
struct TopKPlan {
  int64_t k = 0;
  // Of a head: of an entry, in a packed request of all.
  int64_t rows = 0;
  // As AttentionPlan::listed_rows; slots count as `rows` does.
  std::vector<ListedRow> listed;
  std::vector<int64_t> shape;
};

struct DiagnosticsPlan {
  bool rows = false;
  // Whether the request says how positions of queries and keys line up.
  bool aligned = false;
  int64_t first_keys = 0;
  int64_t window = 0;
  int64_t columns = 0;
};

// Pooled weights. Entry blocks [heads, down, across] one after the other.
struct HeatmapPlan {
  // Cells of an entry's heads.
  PerEntry down;
  PerEntry across;
  // Cells before an entry's block; unset: all blocks are of one size.
  std::vector<int64_t> starts;
  int64_t cells = 0;
  std::vector<int64_t> shape;
};

struct AttentionLimits {
  // Largest head_dim and value_dim, in elements. Raising it raises scratch per worker.
  int64_t max_head_dim = 4096;
  // Largest sum of output tensors, in bytes.
  int64_t max_output_bytes = int64_t{2040} << 20;
};

struct AttentionPlan {
  Dims dims;
  // Rows and keys that an entry's part of the tensors has, and where it starts.
  TokenSpans queries;
  TokenSpans keys;
  // Rows of an entry that are computed, its first ones; the others are 0.
  PerEntry q_used;
  // Positions of token 0 of an entry's queries and keys.
  PerEntry q_position;
  PerEntry k_position;
  // Sum of q_len over entries: batch * q_len, or the length of a packed query.
  int64_t total_queries = 0;
  // The same of kv_len.
  int64_t total_keys = 0;
  // Rows (entry, head, query): elements of lse; output has value_dim for each.
  int64_t rows = 0;
  // All 0 if there are no rows, but those of keys and values if these are explained.
  Strides query;
  Strides key;
  Strides value;
  Strides output;
  Layout layout = Layout::kHeadsFirst;
  DataType query_dtype = DataType::kFloat32;
  // Of key and value.
  DataType key_dtype = DataType::kFloat32;
  // Of output.
  DataType output_dtype = DataType::kFloat32;
  // Of weights and scores.
  DataType pairs_dtype = DataType::kFloat32;
  // Factor on QK^T.
  float scale = 1;
  // 0: none.
  float softcap = 0;
  Visibility visibility;
  std::optional<RopePlan> rope;
  std::vector<BroadcastPlan> masks;
  std::vector<BroadcastPlan> biases;
  bool has_alibi = false;
  bool has_sinks = false;
  // Whether there are, indexed yet or not.
  bool has_documents = false;
  bool wants_lse = false;
  bool mean_weights = false;
  // Whether maximum and sum of every row's softmax are kept; averages need them, too.
  bool keeps_sums = false;
  ScoreStage score_stage = ScoreStage::kUnset;
  std::optional<PairOutputPlan> weights;
  std::optional<PairOutputPlan> scores;
  // Of each explained tensor that has the shape of all weights.
  std::optional<PairOutputPlan> explain;
  // Rows whose weights are reported, by query; empty: all, each in its own place.
  std::vector<ListedRow> listed_rows;
  std::optional<TopKPlan> top_k;
  std::optional<DiagnosticsPlan> diagnostics;
  std::optional<HeatmapPlan> heatmap;
  // Shape of `output` in the query's rank and layout.
  std::vector<int64_t> output_shape;
  std::vector<int64_t> lse_shape;

  // Predicted floating-point operations: 2 * pairs * (head_dim + value_dim), pairs as
  // Visibility knows them.
  double flops = 0;
  // Sizes in bytes. Gathered inputs; all results together, and what making summaries of
  // weights takes.
  int64_t input_bytes = 0;
  int64_t output_bytes = 0;
  // What the request's lists take here, at most.
  int64_t list_bytes = 0;

  // Element types that engines meet: a rotated tensor is float32.
  [[nodiscard]] DataType gathered_query_dtype() const { return rope ? DataType::kFloat32 : query_dtype; }
  [[nodiscard]] DataType gathered_key_dtype() const { return rope ? DataType::kFloat32 : key_dtype; }

  // Element 0 of a row of query (head of dims.heads), key or value (of dims.kv_heads).
  [[nodiscard]] int64_t QueryAt(int64_t b, int64_t head, int64_t q) const {
    return At(query, queries, b) + head * query.head + q * query.token;
  }
  [[nodiscard]] int64_t KeyAt(int64_t b, int64_t head, int64_t k) const {
    return At(key, keys, b) + head * key.head + k * key.token;
  }
  [[nodiscard]] int64_t ValueAt(int64_t b, int64_t head, int64_t k) const {
    return At(value, keys, b) + head * value.head + k * value.token;
  }
  [[nodiscard]] int64_t OutputAt(int64_t b, int64_t head, int64_t q) const {
    return At(output, queries, b) + head * output.head + q * output.token;
  }
  // Place of a row in weights' blocks, or -1 if it is not reported.
  [[nodiscard]] int64_t WeightsSlot(int64_t b, int64_t q) const {
    return listed_rows.empty() ? q : SlotAmong(listed_rows, b, q);
  }
  // Element 0 of a row of top_k, or -1 if it is not reported.
  [[nodiscard]] int64_t TopKAt(int64_t b, int64_t head, int64_t q) const {
    const bool packed = layout == Layout::kPacked;
    const int64_t slot = !top_k->listed.empty() ? SlotAmong(top_k->listed, b, q) : (packed ? queries.begin(b) + q : q);
    if (slot < 0) return -1;
    return (((packed ? 0 : b * dims.heads) + head) * top_k->rows + slot) * top_k->k;
  }
  // Whether diagnostics of entry `b` can go by positions: without alignment they line up if
  // there are as many queries as keys. REQUIRES: there are diagnostics.
  [[nodiscard]] bool DiagnosesPositions(int64_t b) const {
    return diagnostics->aligned || queries.count[b] == keys.count[b];
  }
  // Cell 0 of a head's heatmap.
  [[nodiscard]] int64_t HeatmapAt(int64_t b, int64_t head) const {
    const int64_t block = heatmap->down[b] * heatmap->across[b];
    if (heatmap->starts.empty()) return (b * dims.heads + head) * block;
    return heatmap->starts[static_cast<size_t>(b)] + head * block;
  }
  // Key 0 of an entry among the columns of a head, which are those of all entries.
  [[nodiscard]] int64_t ColumnAt(int64_t b, int64_t head) const { return head * total_keys + keys.begin(b); }
  // Element 0 of a row of `pairs`, which is weights or scores; `slot` is its place among
  // the rows of the entry.
  [[nodiscard]] int64_t PairsAt(const PairOutputPlan& pairs, int64_t b, int64_t head, int64_t slot) const {
    if (pairs.starts.empty()) return ((b * pairs.heads + head) * pairs.rows[b] + slot) * dims.kv_len;
    return pairs.starts[static_cast<size_t>(b)] + (head * pairs.rows[b] + slot) * keys.count[b];
  }
  // Element of lse: [batch, heads, q_len], packed [heads, total_q].
  [[nodiscard]] int64_t LseAt(int64_t b, int64_t head, int64_t q) const {
    if (layout == Layout::kPacked) return head * total_queries + queries.begin(b) + q;
    return (b * dims.heads + head) * dims.q_len + q;
  }

 private:
  [[nodiscard]] int64_t SlotAmong(const std::vector<ListedRow>& listed, int64_t b, int64_t q) const {
    const int64_t wanted = layout == Layout::kPacked ? queries.begin(b) + q : q;
    const auto it = std::lower_bound(listed.begin(), listed.end(), wanted,
                                     [](const ListedRow& row, int64_t at) { return row.query < at; });
    return it != listed.end() && it->query == wanted ? it->slot : -1;
  }
  [[nodiscard]] int64_t At(const Strides& strides, const TokenSpans& tokens, int64_t b) const {
    return layout == Layout::kPacked ? tokens.begin(b) * strides.token : b * strides.batch;
  }
};

// Checks `request` against the contract and `limits`. Reads shapes and lists only, never the
// tensors' bytes. Takes time and memory in proportion to the lists. All
// arithmetic is overflow-safe. On failure the status names the field (InvalidField,
// UnservedField).
absl::StatusOr<AttentionPlan> PlanAttention(const AttentionRequest& request, const AttentionLimits& limits);

// The same for query, key and value that are yet to be computed: they have no bytes.
// REQUIRES: their shapes are non-negative and their sizes fit.
absl::StatusOr<AttentionPlan> PlanProjected(const AttentionRequest& request, const AttentionLimits& limits);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_PLAN_H_
