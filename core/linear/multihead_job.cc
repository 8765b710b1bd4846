#include "core/linear/multihead_job.h"

#include <optional>
#include <utility>

#include "core/attention/attention_job.h"
#include "core/attention/cost.h"

namespace attnd {
namespace {

// What an element of weights costs to pack, in floating-point operations of a product.
constexpr double kFlopsPerElementPacked = 32;
// What an element of the tensors between the stages costs to move.
constexpr double kFlopsPerByte = 4;

class MultiHeadJob final : public Job {
 public:
  MultiHeadJob(PlannedMultiHead planned, WeightsSource weights, EngineKind engine, BufferPool* pool,
               MultiHeadCallback done)
      : planned_(std::move(planned)),
        weights_(std::move(weights)),
        engine_(engine),
        pool_(pool),
        done_(std::move(done)) {}

  absl::StatusOr<int64_t> Prepare() override;
  absl::Status RunTile(int64_t tile) override { return run_->stages()[stage_].run(tile); }
  int64_t NextStage() override;
  [[nodiscard]] double StageShare() const override;
  void Done(const absl::Status& status, const JobTimings& timings) override;

 private:
  PlannedMultiHead planned_;
  WeightsSource weights_;
  const EngineKind engine_;
  BufferPool* const pool_;
  const MultiHeadCallback done_;
  std::optional<MultiHeadRun> run_;
  size_t stage_ = 0;
  double flops_ = 0;
  int64_t tiles_ = 0;
};

absl::StatusOr<int64_t> MultiHeadJob::Prepare() {
  if (weights_.registered == nullptr) {
    auto packed = PackedWeights::Pack(weights_.with_request, weights_.shapes);
    if (!packed.ok()) return packed.status();
    weights_.registered = *std::move(packed);
    weights_.with_request = ProjectionWeights();
  }
  std::vector<PlannedMultiHead> requests;
  requests.push_back(std::move(planned_));
  planned_ = PlannedMultiHead();
  run_.emplace(std::move(requests), std::move(weights_.registered), engine_, pool_);
  if (absl::Status s = run_->Begin(); !s.ok()) return s;
  if (run_->stages().empty()) return 0;
  for (const Stage& stage : run_->stages()) {
    flops_ += stage.flops;
    tiles_ += stage.tiles;
  }
  return run_->stages()[0].tiles;
}

int64_t MultiHeadJob::NextStage() {
  ++stage_;
  return stage_ < run_->stages().size() ? run_->stages()[stage_].tiles : 0;
}

double MultiHeadJob::StageShare() const { return flops_ > 0 ? run_->stages()[stage_].flops / flops_ : 1; }

void MultiHeadJob::Done(const absl::Status& status, const JobTimings& timings) {
  MultiHeadResult result;
  if (status.ok()) result = run_->TakeResult(0);
  result.attention.timings = timings;
  result.attention.tiles = tiles_;
  // Whoever holds the job for longer holds nothing that grows.
  planned_ = PlannedMultiHead();
  weights_ = WeightsSource();
  run_.reset();
  if (status.ok()) {
    done_(std::move(result), timings);
  } else {
    done_(status, timings);
  }
}

}  // namespace

std::shared_ptr<Job> NewMultiHeadJob(PlannedMultiHead planned, WeightsSource weights, EngineKind engine,
                                     BufferPool* pool, MultiHeadCallback done) {
  return std::make_shared<MultiHeadJob>(std::move(planned), std::move(weights), engine, pool, std::move(done));
}

JobSpec MultiHeadJobSpec(const PlannedMultiHead& planned, const WeightsSource& weights, EngineKind engine) {
  JobSpec spec = AttentionJobSpec(planned.plan.attention, engine);
  spec.flops += planned.plan.linear_flops + kFlopsPerByte * static_cast<double>(planned.plan.bytes);
  spec.bytes += planned.plan.bytes;
  for (const auto* tensor : {&planned.request.key, &planned.request.value}) {
    if (tensor->has_value()) spec.bytes += static_cast<int64_t>((*tensor)->bytes.size());
  }
  spec.bytes += static_cast<int64_t>(planned.request.query.bytes.size());
  if (weights.registered == nullptr) {
    // As it came and packed.
    spec.bytes += 2 * PackedWeights::BytesFor(weights.shapes);
    spec.flops += kFlopsPerElementPacked * static_cast<double>(ElementsOf(weights.shapes));
  }
  return spec;
}

}  // namespace attnd
