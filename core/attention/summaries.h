// What is gathered about the weights of a job while tiles are computed, in memory that grows
// with rows and keys, not with their product: statistics, the largest weights, pooled weights.
// All of it is independent of who computes what, and when: rows are written once, and what
// many rows add to is counted in fixed point, where sums have no order.
#ifndef ATTND_CORE_ATTENTION_SUMMARIES_H_
#define ATTND_CORE_ATTENTION_SUMMARIES_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/diagnostics.h"
#include "core/attention/plan.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// Of a row: what the contract reports, by Statistic, and what heads' figures need beside it.
enum class RowFigure {
  // The part of visible keys that the window holds.
  kWindowShare = kStatistics,
  // ln(visible keys).
  kLogVisible,
  // Sum of the weights; 0 for a row that does not count.
  kTotal
};
inline constexpr int64_t kRowFigures = kStatistics + 3;

// Sums of weights of an entry's rows, which are at most as many as rows, are counted in this
// many parts of 1: 2^40, and fewer where that could pass 2^62. What is smaller is lost.
inline double FixedPointOf(const AttentionPlan& plan, int64_t batch) {
  const auto rows = static_cast<uint64_t>(plan.queries.count[batch]);
  return std::ldexp(1.0, std::min(40, 62 - static_cast<int>(std::bit_width(rows))));
}

// One cell of a heatmap.
struct HeatCell {
  std::atomic<int64_t> sum = 0;
  // Visible pairs.
  std::atomic<int64_t> pairs = 0;
  // The bits of the largest weight, which order as weights do.
  std::atomic<uint32_t> max = 0;
};

// Where engines write. nullptr for what the plan does not have.
struct SummaryData {
  // By RowFigure, each per row, as lse.
  std::array<float*, static_cast<size_t>(kRowFigures)> rows = {};
  // Sums over rows in fixed point, as plan.ColumnAt says.
  std::atomic<int64_t>* columns = nullptr;
  // As plan.TopKAt says.
  float* top_weights = nullptr;
  int64_t* top_keys = nullptr;
  // As plan.HeatmapAt says.
  HeatCell* cells = nullptr;
};

// A job's. Thread-compatible, but for what data() points to.
class Summaries {
 public:
  // Memory for what the plan wants, as of no row. kResourceExhausted if there is none.
  absl::Status Begin(const AttentionPlan& plan, BufferPool* pool);

  [[nodiscard]] const SummaryData* data() const { return any_ ? &data_ : nullptr; }

  // Makes the results. REQUIRES: all tiles are done.
  void Finish(const AttentionPlan& plan);

  [[nodiscard]] std::optional<TopKResult>& top_k() { return top_k_; }
  [[nodiscard]] std::optional<DiagnosticsResult>& diagnostics() { return diagnostics_; }
  [[nodiscard]] std::optional<HeatmapResult>& heatmap() { return heatmap_; }

 private:
  absl::Status BeginDiagnostics(const AttentionPlan& plan, BufferPool* pool);
  absl::Status BeginTopK(const AttentionPlan& plan, BufferPool* pool);
  absl::Status BeginHeatmap(const AttentionPlan& plan, BufferPool* pool);
  void FinishHead(const AttentionPlan& plan, int64_t batch, int64_t head);
  void FinishHeatmap(const AttentionPlan& plan);

  bool any_ = false;
  SummaryData data_;
  Buffer figures_[kRowFigures - kStatistics];
  Buffer columns_;
  Buffer cells_;
  // Rows' until Finish, unless they are reported, too.
  StatisticTensors rows_;
  std::optional<TopKResult> top_k_;
  std::optional<DiagnosticsResult> diagnostics_;
  std::optional<HeatmapResult> heatmap_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_SUMMARIES_H_
