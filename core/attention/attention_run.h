// A planned request while it is computed: memory for what it reads and returns, and claims of
// tiles that workers take. What is between a job of the executor and engines.
#ifndef ATTND_CORE_ATTENTION_ATTENTION_RUN_H_
#define ATTND_CORE_ATTENTION_ATTENTION_RUN_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/diagnostics.h"
#include "core/attention/engine.h"
#include "core/attention/gather.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/attention/result_tensor.h"
#include "core/attention/split.h"
#include "core/attention/summaries.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

// What a finished request returns: the output, and what was asked for.
struct AttentionResult {
  ResultTensor output;
  std::optional<ResultTensor> lse;
  std::optional<ResultTensor> weights;
  std::optional<ResultTensor> scores;
  std::optional<TopKResult> top_k;
  std::optional<DiagnosticsResult> diagnostics;
  std::optional<HeatmapResult> heatmap;
  std::vector<NamedResult> explain;
  JobTimings timings;
  int64_t tiles = 0;
  double flops = 0;
  RowCounts rows;
};

// Of its tensors.
int64_t BytesOf(const AttentionResult& result);

// Query, key and value that are computed, not sent, and where the output goes. Not owned; the
// plan's shapes and strides, output in its output_dtype. Rows outside q_lengths are left alone.
struct ProjectedTensors {
  const std::byte* query = nullptr;
  const std::byte* key = nullptr;
  const std::byte* value = nullptr;
  std::byte* output = nullptr;
  // As AttentionData's; nullptr for none.
  const float* row_sinks = nullptr;
};

// Begin once; then, stage by stage, RunClaim for each claim, from several threads at the same
// time, and NextStage; then TakeResult or nothing. `pool` must outlive it and its result.
class AttentionRun {
 public:
  // REQUIRES: `plan` is PlanAttention's answer to `request`.
  AttentionRun(AttentionRequest&& request, AttentionPlan&& plan, EngineKind engine, BufferPool* pool)
      : plan_(std::move(plan)), engine_(engine), pool_(pool), source_(std::move(request)) {}
  // For BeginProjected, without a request.
  AttentionRun(AttentionPlan&& plan, EngineKind engine, BufferPool* pool)
      : plan_(std::move(plan)), engine_(engine), pool_(pool) {}

  // Copies the request's tensors, or makes that a stage of its own if they are large, and
  // returns the number of claims. Drops the request as soon as they have been copied.
  // kResourceExhausted without memory. REQUIRES: made with a request.
  absl::StatusOr<int64_t> Begin();

  // The same for tensors that are computed by the time that the first claim is run. REQUIRES:
  // made without a request; the plan is PlanProjected's answer to `request`, perhaps with
  // another output_dtype.
  absl::StatusOr<int64_t> BeginProjected(const AttentionRequest& request, const ProjectedTensors& tensors);

  // Copies or computes claim 0 <= `claim` < claims of the stage.
  absl::Status RunClaim(int64_t claim);

  // All claims of a stage are done: the number of the next one's, 0 if there is none. Quick.
  int64_t NextStage();
  // Whether the stage copies.
  [[nodiscard]] bool gathers() const { return gathers_; }
  // The stage's part of the whole cost.
  [[nodiscard]] double StageShare() const;

  // All but timings; without output if tensors were projected. REQUIRES: all claims are done.
  AttentionResult TakeResult();

  [[nodiscard]] const AttentionPlan& plan() const { return plan_; }
  // Per row, as lse: maximum and sum of its softmax, if the plan keeps them.
  [[nodiscard]] const float* row_max() const { return data_.row_max; }
  [[nodiscard]] const float* row_sum() const { return data_.row_sum; }

 private:
  // Rows of one entry that a worker computes in one go: a kernel tile, or with averaged
  // weights all the tiles of some queries, since an average needs every head.
  struct Unit {
    int64_t batch = 0;
    int64_t kv_head = 0;
    int64_t row_begin = 0;
    int64_t row_end = 0;
    // Of the entry's keys, if these are cut.
    int64_t part = 0;
  };

  absl::Status EndGathering();
  // No claims, but results.
  absl::StatusOr<int64_t> NothingToDo();
  absl::Status AllocateOutput();
  absl::Status AllocateResults();
  absl::Status Allocate(DataType dtype, const std::vector<int64_t>& shape, ResultTensor& tensor);
  // Rows that are not computed: output 0, LSE -inf, weights and scores 0.
  void FillUnusedRows();
  // What is left to do once the tensors are there: cuts the problem into units and these
  // into claims; returns the number of claims.
  absl::StatusOr<int64_t> Cut();
  [[nodiscard]] int64_t UnitsOf(int64_t b) const;
  [[nodiscard]] Unit UnitAt(int64_t index) const;
  absl::Status RunUnit(TileEngine& engine, const Unit& unit);
  absl::Status RunTiles(TileEngine& engine, const Unit& unit);
  absl::Status RunPart(TileEngine& engine, const Unit& unit, const KeyParts& parts);
  void Count(const RowCounts& counts);
  // What the last claim does for all.
  absl::Status Finish();

  AttentionPlan plan_;
  const EngineKind engine_;
  BufferPool* const pool_;

  // Until its tensors have been copied, if there are any.
  std::optional<AttentionRequest> source_;
  Gathering gathering_;
  std::atomic<int64_t> parts_left_ = 0;
  bool gathers_ = false;
  // Of the cost; 0 if all was copied in Begin.
  double gather_share_ = 0;
  int64_t claims_ = 0;
  Buffer input_;
  AttentionData data_;
  // Of the softmax of every row, when averages need them.
  Buffer row_max_;
  Buffer row_sum_;
  AttentionResult result_;
  Summaries summaries_;
  PartialStates partial_;
  // Units before each entry's, and in all; empty if all entries have as many.
  std::vector<int64_t> unit_starts_;
  int64_t rows_per_tile_ = 1;
  int64_t rows_per_unit_ = 0;
  int64_t units_ = 0;
  int64_t units_per_claim_ = 1;
  std::atomic<int64_t> units_left_ = 0;
  std::atomic<int64_t> empty_rows_ = 0;
  std::atomic<int64_t> non_finite_rows_ = 0;
  std::atomic<int64_t> pairs_ = 0;
  std::atomic<int64_t> tiles_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ATTENTION_RUN_H_
