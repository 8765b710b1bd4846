#include "core/attention/attention_job.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace attnd {
namespace {

// Kernel tiles are small for small shapes; a worker takes as many at once as cost this
// many floating-point operations (some tens of microseconds), so that claiming is free.
constexpr double kFlopsPerClaim = 4e6;
// What moving a float to or from memory costs, in floating-point operations.
constexpr double kFlopsPerFloatMoved = 64;
// Keys beyond the visible ones that a row of a tile is computed with, in the mean: up to
// the end of what its neighbours see, in whole vectors.
constexpr double kKeysBeyondVisible = 32;
// Bytes between tensors in the gathered block: a cache line.
constexpr size_t kAlignment = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

int64_t TilesPerHead(const Dims& dims, int64_t rows_per_tile) {
  return (dims.q_len * dims.group() + rows_per_tile - 1) / rows_per_tile;
}

// What the engine does for the plan, in floating-point operations: padding rows, keys
// that only neighbours see, recomputed scores and memory traffic included.
double Cost(const AttentionPlan& plan) {
  if (plan.rows() == 0) return 0;
  const Dims& dims = plan.dims;
  const int64_t rows_per_tile = RowsPerTile(EngineKind::kOnednn);
  const auto rows = static_cast<double>(plan.rows());
  const double padded_rows = static_cast<double>(dims.batch * dims.kv_heads) *
                             static_cast<double>(TilesPerHead(dims, rows_per_tile) * rows_per_tile);
  const auto dim = static_cast<double>(dims.head_dim + dims.value_dim);
  double flops = (plan.flops / rows + (dims.kv_len > 0 ? 2 * dim * kKeysBeyondVisible : 0)) * padded_rows;
  double floats = rows * dim;
  if (plan.outputs.weights) {
    flops *= 1.5;
    floats += rows * static_cast<double>(dims.kv_len);
  }
  return flops + floats * kFlopsPerFloatMoved;
}

class AttentionJob final : public Job {
 public:
  AttentionJob(AttentionRequest request, AttentionPlan plan, EngineKind engine, BufferPool* pool,
               AttentionCallback done)
      : request_(std::move(request)), plan_(std::move(plan)), engine_(engine), pool_(pool), done_(std::move(done)) {}

  absl::StatusOr<int64_t> Prepare() override;
  absl::Status RunTile(int64_t tile) override;
  void Done(const absl::Status& status, const JobTimings& timings) override;

 private:
  absl::Status AllocateResult();
  absl::Status Gather();
  // Cuts the problem into tiles and these into claims; returns the number of claims.
  int64_t Cut();
  [[nodiscard]] Tile KernelTile(int64_t index) const;

  AttentionRequest request_;
  const AttentionPlan plan_;
  const EngineKind engine_;
  BufferPool* const pool_;
  const AttentionCallback done_;

  Buffer input_;
  AttentionData data_;
  AttentionResult result_;
  int64_t tiles_per_head_ = 0;
  int64_t kernel_tiles_ = 0;
  int64_t tiles_per_claim_ = 1;
  std::atomic<int64_t> empty_rows_ = 0;
  std::atomic<int64_t> non_finite_rows_ = 0;
};

absl::StatusOr<int64_t> AttentionJob::Prepare() {
  if (absl::Status status = AllocateResult(); !status.ok()) return status;
  if (plan_.rows() == 0) {
    request_.owner.reset();
    return 0;
  }
  if (absl::Status status = Gather(); !status.ok()) return status;
  return Cut();
}

absl::Status AttentionJob::AllocateResult() {
  const Dims& dims = plan_.dims;
  const auto allocate = [&](int64_t floats, Buffer& buffer) {
    auto block = pool_->Allocate(static_cast<size_t>(floats) * sizeof(float));
    if (!block.ok()) return block.status();
    buffer = *std::move(block);
    return absl::OkStatus();
  };
  result_.output_shape = plan_.output_shape;
  if (absl::Status status = allocate(plan_.rows() * dims.value_dim, result_.output); !status.ok()) return status;
  data_.output = result_.output.floats();
  if (plan_.outputs.lse) {
    result_.has_lse = true;
    result_.lse_shape = {dims.batch, dims.heads, dims.q_len};
    if (absl::Status status = allocate(plan_.rows(), result_.lse); !status.ok()) return status;
    data_.lse = result_.lse.floats();
  }
  if (plan_.outputs.weights) {
    result_.has_weights = true;
    result_.weights_shape = {dims.batch, dims.heads, dims.q_len, dims.kv_len};
    if (absl::Status status = allocate(plan_.rows() * dims.kv_len, result_.weights); !status.ok()) return status;
    data_.weights = result_.weights.floats();
  }
  return absl::OkStatus();
}

absl::Status AttentionJob::Gather() {
  const size_t key_at = Aligned(request_.query.bytes.size());
  const size_t value_at = key_at + Aligned(request_.key.bytes.size());
  auto block = pool_->Allocate(value_at + request_.value.bytes.size());
  if (!block.ok()) return block.status();
  input_ = *std::move(block);
  std::byte* base = input_.data();
  request_.query.bytes.CopyTo(base);
  request_.key.bytes.CopyTo(base + key_at);
  request_.value.bytes.CopyTo(base + value_at);
  data_.query = reinterpret_cast<const float*>(base);
  data_.key = reinterpret_cast<const float*>(base + key_at);
  data_.value = reinterpret_cast<const float*>(base + value_at);
  request_.owner.reset();
  return absl::OkStatus();
}

int64_t AttentionJob::Cut() {
  const Dims& dims = plan_.dims;
  tiles_per_head_ = TilesPerHead(dims, RowsPerTile(engine_));
  const int64_t tiles = dims.batch * dims.kv_heads * tiles_per_head_;
  const double fitting = kFlopsPerClaim * static_cast<double>(tiles) / std::max(1.0, Cost(plan_));
  int64_t per_claim = tiles;
  if (fitting < static_cast<double>(tiles)) per_claim = fitting < 1 ? 1 : static_cast<int64_t>(fitting);
  kernel_tiles_ = tiles;
  tiles_per_claim_ = per_claim;
  // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): it takes Gather's reset for the job's end.
  return (tiles + per_claim - 1) / per_claim;
}

// Within a head the last rows come first: with causal they are the longest, and short
// tiles at the end keep workers level.
Tile AttentionJob::KernelTile(int64_t index) const {
  const int64_t head = index / tiles_per_head_;
  const int64_t block = tiles_per_head_ - 1 - index % tiles_per_head_;
  const int64_t row_begin = block * RowsPerTile(engine_);
  const int64_t row_end = std::min(row_begin + RowsPerTile(engine_), plan_.dims.q_len * plan_.dims.group());
  return {head / plan_.dims.kv_heads, head % plan_.dims.kv_heads, row_begin, row_end};
}

absl::Status AttentionJob::RunTile(int64_t tile) {
  TileEngine& engine = EngineForThisThread(engine_);
  const int64_t end = std::min((tile + 1) * tiles_per_claim_, kernel_tiles_);
  for (int64_t i = tile * tiles_per_claim_; i < end; ++i) {
    const absl::StatusOr<RowCounts> counts = engine.Run(plan_, data_, KernelTile(i));
    if (!counts.ok()) return counts.status();
    empty_rows_.fetch_add(counts->empty, std::memory_order_relaxed);
    non_finite_rows_.fetch_add(counts->non_finite, std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

void AttentionJob::Done(const absl::Status& status, const JobTimings& timings) {
  input_ = Buffer();
  request_.owner.reset();
  if (!status.ok()) {
    result_ = AttentionResult();
    done_(status, timings);
    return;
  }
  result_.timings = timings;
  result_.tiles = kernel_tiles_;
  result_.flops = plan_.flops;
  result_.rows = {empty_rows_.load(std::memory_order_relaxed), non_finite_rows_.load(std::memory_order_relaxed)};
  done_(std::move(result_), timings);
}

}  // namespace

std::shared_ptr<Job> NewAttentionJob(AttentionRequest request, AttentionPlan plan, EngineKind engine, BufferPool* pool,
                                     AttentionCallback done) {
  return std::make_shared<AttentionJob>(std::move(request), std::move(plan), engine, pool, std::move(done));
}

JobSpec AttentionJobSpec(const AttentionPlan& plan) {
  JobSpec spec;
  spec.flops = Cost(plan);
  // The message's slices and the gathered copy live at the same time for a moment.
  spec.bytes = 2 * plan.input_bytes + plan.output_bytes;
  return spec;
}

}  // namespace attnd
