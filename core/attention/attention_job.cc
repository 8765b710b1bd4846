#include "core/attention/attention_job.h"

#include <utility>

#include "core/attention/cost.h"
#include "core/attention/split.h"

namespace attnd {
namespace {

class AttentionJob final : public Job {
 public:
  AttentionJob(AttentionRequest&& request, AttentionPlan&& plan, EngineKind engine, BufferPool* pool,
               AttentionCallback&& done)
      : run_(std::in_place, std::move(request), std::move(plan), engine, pool), done_(std::move(done)) {}

  absl::StatusOr<int64_t> Prepare() override { return run_->Begin(); }
  absl::Status RunTile(int64_t tile) override { return run_->RunClaim(tile); }
  int64_t NextStage() override { return run_->NextStage(); }
  [[nodiscard]] double StageShare() const override { return run_->StageShare(); }
  [[nodiscard]] bool Prepares() const override { return run_->gathers(); }
  void Done(const absl::Status& status, const JobTimings& timings) override;

 private:
  std::optional<AttentionRun> run_;
  const AttentionCallback done_;
};

void AttentionJob::Done(const absl::Status& status, const JobTimings& timings) {
  auto result = status.ok() ? absl::StatusOr<AttentionResult>(run_->TakeResult()) : status;
  if (result.ok()) result->timings = timings;
  // Whoever holds the job for longer holds nothing that grows.
  run_.reset();
  done_(std::move(result), timings);
}

}  // namespace

std::shared_ptr<Job> NewAttentionJob(AttentionRequest request, AttentionPlan plan, EngineKind engine, BufferPool* pool,
                                     AttentionCallback done) {
  return std::make_shared<AttentionJob>(std::move(request), std::move(plan), engine, pool, std::move(done));
}

JobSpec AttentionJobSpec(const AttentionPlan& plan, EngineKind engine) {
  JobSpec spec;
  spec.flops = PredictCost(plan, engine);
  // The message's slices and the gathered copy live at the same time for a moment, and
  // rotated tensors of 16 bits as they came, too.
  spec.bytes = 2 * plan.input_bytes + plan.output_bytes + plan.list_bytes + PartialBytes(plan);
  if (plan.rope) spec.bytes += 2 * plan.input_bytes;
  if (plan.mean_weights) spec.bytes += 2 * plan.rows * static_cast<int64_t>(sizeof(float));
  return spec;
}

}  // namespace attnd
