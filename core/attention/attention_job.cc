#include "core/attention/attention_job.h"

#include <utility>

#include "core/attention/cost.h"
#include "core/attention/split.h"

namespace attnd {
namespace {

class AttentionJob final : public Job {
 public:
  AttentionJob(AttentionRequest request, AttentionPlan plan, EngineKind engine, BufferPool* pool,
               AttentionCallback done)
      : request_(std::move(request)), done_(std::move(done)) {
    run_.emplace(std::move(plan), engine, pool);
  }

  absl::StatusOr<int64_t> Prepare() override { return run_->Begin(std::move(request_)); }
  absl::Status RunTile(int64_t tile) override { return run_->RunClaim(tile); }
  void Done(const absl::Status& status, const JobTimings& timings) override;

 private:
  AttentionRequest request_;
  std::optional<AttentionRun> run_;
  const AttentionCallback done_;
};

void AttentionJob::Done(const absl::Status& status, const JobTimings& timings) {
  AttentionResult result;
  if (status.ok()) result = run_->TakeResult();
  result.timings = timings;
  // Whoever holds the job for longer holds nothing that grows.
  request_ = AttentionRequest();
  run_.reset();
  if (status.ok()) {
    done_(std::move(result), timings);
  } else {
    done_(status, timings);
  }
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
