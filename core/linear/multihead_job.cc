#include "core/linear/multihead_job.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/attention/attention_job.h"
#include "core/attention/cost.h"

namespace attnd {
namespace {

// What an element of weights costs to pack, in floating-point operations of a product.
constexpr double kFlopsPerElementPacked = 32;
// What an element of weights costs to read.
constexpr double kFlopsPerWeightRead = 8;
// What an element of the tensors between the stages costs to move.
constexpr double kFlopsPerByte = 4;

// Requests of few rows wait for the memory that weights come from, so that several take as
// long as one. From 3 rows on that gains nothing that measurement could show, and the more rows
// are computed together, the longer the first of them waits.
constexpr int64_t kMostRowsToShare = 4;
constexpr int64_t kMostRowsShared = 16;

int64_t RowsOf(const MultiHeadPlan& plan) { return std::max(plan.embeddings[0].rows, plan.embeddings[1].rows); }

double PackingFlops(const WeightShapes& shapes) {
  return kFlopsPerElementPacked * static_cast<double>(ElementsOf(shapes));
}

bool MayShare(const MultiHeadPlan& plan, const WeightsSource& weights) {
  return weights.registered != nullptr && !plan.explain && RowsOf(plan) <= kMostRowsToShare;
}

class MultiHeadJob final : public Job {
 public:
  MultiHeadJob(PlannedMultiHead planned, WeightsSource weights, EngineKind engine, BufferPool* pool,
               MultiHeadCallback done)
      : weights_(std::move(weights)), engine_(engine), pool_(pool), done_(std::move(done)) {
    group_->rows = RowsOf(planned.plan);
    group_->requests.push_back(std::move(planned));
  }

  absl::StatusOr<int64_t> Prepare() override;
  absl::Status RunTile(int64_t tile) override;
  int64_t NextStage() override;
  bool Join(Job& other) override;
  [[nodiscard]] double StageShare() const override;
  void Done(const absl::Status& status, const JobTimings& timings) override;

 private:
  // Requests that are computed together; of several jobs, of which one does the work.
  struct Group {
    std::vector<PlannedMultiHead> requests;
    int64_t rows = 0;
    std::optional<MultiHeadRun> run;
    int64_t tiles = 0;
  };

  absl::Status PreparePacking();
  [[nodiscard]] const std::vector<Stage>& Stages() const { return group_->run->stages(); }

  std::shared_ptr<Group> group_ = std::make_shared<Group>();
  // Of this job's request in the group.
  size_t index_ = 0;
  WeightsSource weights_;
  // While weights that came with the request are packed; they are in the message.
  std::shared_ptr<PackedWeights> packing_;
  std::vector<WeightRole> to_pack_;
  std::shared_ptr<const void> weights_owner_;
  const EngineKind engine_;
  BufferPool* const pool_;
  const MultiHeadCallback done_;
  size_t stage_ = 0;
  double flops_ = 0;
};

absl::StatusOr<int64_t> MultiHeadJob::Prepare() {
  if (weights_.registered == nullptr) {
    if (absl::Status s = PreparePacking(); !s.ok()) return s;
  }
  group_->run.emplace(std::exchange(group_->requests, {}), weights_.registered, engine_, pool_);
  if (absl::Status s = group_->run->Begin(); !s.ok()) return s;
  for (const Stage& stage : Stages()) {
    flops_ += stage.flops;
    group_->tiles += stage.tiles;
  }
  if (Stages().empty()) return 0;
  return to_pack_.empty() ? Stages()[0].tiles : static_cast<int64_t>(to_pack_.size());
}

// Packing is a stage of its own, a matrix a tile, since it may take longer than all the rest.
absl::Status MultiHeadJob::PreparePacking() {
  auto packed = PackedWeights::Begin(weights_.with_request, weights_.shapes);
  if (!packed.ok()) return packed.status();
  packing_ = *std::move(packed);
  weights_.registered = packing_;
  weights_owner_ = group_->requests[0].request.owner;
  for (const WeightRoleInfo& info : WeightRoles()) {
    if (info.kind == WeightKind::kMatrix && weights_.shapes.has(info.role)) to_pack_.push_back(info.role);
  }
  flops_ = PackingFlops(weights_.shapes);
  return absl::OkStatus();
}

absl::Status MultiHeadJob::RunTile(int64_t tile) {
  if (packing_ == nullptr) return Stages()[stage_].run(tile);
  return packing_->PackMatrix(weights_.with_request, to_pack_[static_cast<size_t>(tile)]);
}

int64_t MultiHeadJob::NextStage() {
  if (packing_ != nullptr) {
    packing_.reset();
    weights_.with_request = ProjectionWeights();
    weights_owner_.reset();
  } else {
    ++stage_;
  }
  return stage_ < Stages().size() ? Stages()[stage_].tiles : 0;
}

double MultiHeadJob::StageShare() const {
  if (packing_ != nullptr) return PackingFlops(weights_.shapes) / flops_;
  return flops_ > 0 ? Stages()[stage_].flops / flops_ : 1;
}

bool MultiHeadJob::Join(Job& other) {
  // Only jobs of this kind have its keys.
  auto& joining = static_cast<MultiHeadJob&>(other);
  Group& theirs = *joining.group_;
  if (group_->rows + theirs.rows > kMostRowsShared || joining.engine_ != engine_ ||
      !CanShare(group_->requests[0].plan, theirs.requests[0].plan)) {
    return false;
  }
  group_->rows += theirs.rows;
  joining.index_ = group_->requests.size();
  group_->requests.push_back(std::move(theirs.requests[0]));
  joining.group_ = group_;
  return true;
}

void MultiHeadJob::Done(const absl::Status& status, const JobTimings& timings) {
  auto result = status.ok() ? absl::StatusOr<MultiHeadResult>(group_->run->TakeResult(index_)) : status;
  if (result.ok()) {
    result->attention.timings = timings;
    result->attention.tiles = group_->tiles;
  }
  // Whoever holds the job for longer holds nothing that grows.
  group_.reset();
  weights_ = WeightsSource();
  packing_.reset();
  weights_owner_.reset();
  done_(std::move(result), timings);
}

}  // namespace

std::shared_ptr<Job> NewMultiHeadJob(PlannedMultiHead planned, WeightsSource weights, EngineKind engine,
                                     BufferPool* pool, MultiHeadCallback done) {
  return std::make_shared<MultiHeadJob>(std::move(planned), std::move(weights), engine, pool, std::move(done));
}

JobSpec MultiHeadJobSpec(const PlannedMultiHead& planned, const WeightsSource& weights, EngineKind engine) {
  JobSpec spec = AttentionJobSpec(planned.plan.attention, engine);
  if (MayShare(planned.plan, weights)) spec.share_key = weights.registered.get();
  spec.flops += kFlopsPerWeightRead * static_cast<double>(ElementsOf(weights.shapes));
  spec.flops += planned.plan.linear_flops + kFlopsPerByte * static_cast<double>(planned.plan.bytes);
  spec.bytes += planned.plan.bytes;
  for (const auto* tensor : {&planned.request.key, &planned.request.value}) {
    if (tensor->has_value()) spec.bytes += static_cast<int64_t>((*tensor)->bytes.size());
  }
  spec.bytes += static_cast<int64_t>(planned.request.query.bytes.size());
  if (weights.registered == nullptr) {
    // As it came and packed.
    spec.bytes += 2 * PackedWeights::BytesFor(weights.shapes);
    spec.flops += PackingFlops(weights.shapes);
  }
  return spec;
}

}  // namespace attnd
