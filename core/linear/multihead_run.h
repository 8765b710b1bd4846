// Multi-head attention from embeddings while it is computed: memory for everything between
// the stages, and the stages.
//
//   embeddings (+ positions) -> [norm] -> projections -> [norm, RoPE] -> attention ->
//   output projection (+ residual) -> [norm -> feed-forward network (+ residual) -> norm]
//
// Requests with the same weights can be computed together: their rows lie one after the
// other, so that each matrix is read once for all of them. That changes no bit.
#ifndef ATTND_CORE_LINEAR_MULTIHEAD_RUN_H_
#define ATTND_CORE_LINEAR_MULTIHEAD_RUN_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/attention_run.h"
#include "core/attention/engine.h"
#include "core/linear/multihead_plan.h"
#include "core/linear/multihead_request.h"
#include "core/linear/packed_weights.h"
#include "core/linear/stages.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

struct MultiHeadResult {
  // Its output is that of the whole.
  AttentionResult attention;
  std::vector<NamedResult> explain;
};

// Of its tensors.
int64_t BytesOf(const MultiHeadResult& result);

// A request and PlanMultiHead's answer to it.
struct PlannedMultiHead {
  MultiHeadRequest request;
  MultiHeadPlan plan;
};

// Whether the two can be computed together, given that they have the same weights.
bool CanShare(const MultiHeadPlan& a, const MultiHeadPlan& b);

// Begin once; then stage after stage, of each all tiles, from several threads at the same
// time; then TakeResult. `pool` must outlive it and its results.
class MultiHeadRun {
 public:
  // REQUIRES: all requests were planned for these weights and CanShare.
  MultiHeadRun(std::vector<PlannedMultiHead> requests, std::shared_ptr<const PackedWeights> weights, EngineKind engine,
               BufferPool* pool);

  // Copies the requests' tensors, drops what the requests hold, and plans the stages.
  // kResourceExhausted without memory.
  absl::Status Begin();

  // In order. None of them is empty.
  [[nodiscard]] const std::vector<Stage>& stages() const { return stages_; }

  // All but timings, of request `i`. REQUIRES: all stages are done.
  MultiHeadResult TakeResult(size_t i);

 private:
  // A request and what is its own.
  struct Member {
    MultiHeadRequest request;
    MultiHeadPlan plan;
    // Of the members before.
    int64_t first_row[3] = {};
    std::optional<AttentionRun> attention;
    int64_t claims = 0;
    // Per head and query, as lse: scores of the extra key.
    float* extra_scores = nullptr;
    ResultTensor output;
    std::vector<NamedResult> explain;
  };
  // Some tokens of one entry, of query (0) or key (1).
  struct TokenBlock {
    size_t member;
    int which;
    int64_t b;
    int64_t begin;
    int64_t end;
  };

  absl::StatusOr<float*> Floats(int64_t count);
  absl::Status AllocateRows();
  absl::Status BeginMember(Member& member);
  absl::Status BeginOutput(Member& member);
  // Whether the output can be computed where it is returned.
  [[nodiscard]] bool WritesInPlace() const;
  void Add(Stage stage);
  void AddRows(int64_t rows, int64_t width, std::function<void(int64_t row)> f);
  // For tokens of those of `which` that have rows of their own.
  void AddTokens(const std::vector<int>& which, int64_t width, std::function<void(const TokenBlock&)> f);
  void AddStages();
  void AddProjections();
  void AddTurning();
  void AddAttention();
  void AddOutputProjection();
  void AddFeedForward();
  void AddEnd();
  void Turn(const TokenBlock& block);
  void AddExtraValue(const TokenBlock& block);
  void NormRow(WeightRole scale, const float* x, float* y) const;
  void WriteRow(int64_t row) const;
  void Explain(Member& member, bool projected);

  [[nodiscard]] const MultiHeadPlan& plan() const;
  [[nodiscard]] const float* vector(WeightRole role) const { return weights_->floats(role); }
  [[nodiscard]] int64_t rows() const { return rows_[0]; }

  const std::shared_ptr<const PackedWeights> weights_;
  const EngineKind engine_;
  BufferPool* const pool_;
  std::vector<std::unique_ptr<Member>> members_;
  std::vector<Buffer> memory_;
  // Of query, key and value, in all members together.
  int64_t rows_[3] = {};
  float* embeddings_[3] = {};
  float* projected_[3] = {};
  // [rows, model_dim] that feeds the projections or the feed-forward network, where it is
  // not the embeddings or hidden_.
  float* normed_ = nullptr;
  float* context_ = nullptr;
  // What attention adds, before the residual; for explain.
  float* attention_ = nullptr;
  // The output of the attention, and of the residual in a block.
  float* hidden_ = nullptr;
  float* up_ = nullptr;
  float* gate_ = nullptr;
  // The output in float32.
  float* output_ = nullptr;
  std::vector<Stage> stages_;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_MULTIHEAD_RUN_H_
