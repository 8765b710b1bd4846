#include "core/attention/attention_run.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "core/attention/cost.h"
#include "core/attention/explain.h"
#include "core/attention/gather.h"
#include "core/attention/plan_options.h"
#include "core/attention/split.h"

namespace attnd {
namespace {

// Kernel tiles are small for small shapes; a worker takes as many at once as cost this
// many floating-point operations (some tens of microseconds), so that claiming is free.
constexpr double kFlopsPerClaim = 4e6;

// What a byte costs to copy from memory, in operations of a product.
constexpr double kFlopsPerByteCopied = 4;

int64_t Blocks(int64_t rows, int64_t rows_per_block) { return (rows + rows_per_block - 1) / rows_per_block; }

}  // namespace

absl::StatusOr<int64_t> AttentionRun::Begin() {
  if (absl::Status status = AllocateOutput(); !status.ok()) return status;
  if (absl::Status status = AllocateResults(); !status.ok()) return status;
  if (plan_.rows == 0) {
    // Keys and values are explained all the same.
    if (plan_.explain) {
      if (absl::Status s = GatherInputs(*source_, plan_, pool_, input_, data_); !s.ok()) return s;
    }
    return NothingToDo();
  }
  FillUnusedRows();
  if (absl::Status status = gathering_.Begin(*source_, plan_, pool_, input_, data_); !status.ok()) return status;
  if (gathering_.parts() > 0) {
    const double flops = kFlopsPerByteCopied * static_cast<double>(plan_.input_bytes);
    gather_share_ = flops / (flops + PredictCost(plan_, engine_));
    gathers_ = true;
    parts_left_ = gathering_.parts();
    return gathering_.parts();
  }
  if (absl::Status status = EndGathering(); !status.ok()) return status;
  return claims_;
}

absl::StatusOr<int64_t> AttentionRun::NothingToDo() {
  if (absl::Status status = Finish(); !status.ok()) return status;
  return 0;
}

absl::Status AttentionRun::EndGathering() {
  IndexDocuments(source_->options, plan_);
  source_.reset();
  const absl::StatusOr<int64_t> claims = Cut();
  if (!claims.ok()) return claims.status();
  claims_ = *claims;
  return absl::OkStatus();
}

int64_t AttentionRun::NextStage() {
  if (!gathers_) return 0;
  gathers_ = false;
  return claims_;
}

double AttentionRun::StageShare() const { return gathers_ ? gather_share_ : 1 - gather_share_; }

absl::StatusOr<int64_t> AttentionRun::BeginProjected(const AttentionRequest& request, const ProjectedTensors& tensors) {
  if (absl::Status status = AllocateResults(); !status.ok()) return status;
  if (plan_.rows == 0) return NothingToDo();
  FillUnusedRows();
  if (absl::Status s = GatherOptions(request.options, pool_, input_, data_); !s.ok()) return s;
  data_.query = tensors.query;
  data_.key = tensors.key;
  data_.value = tensors.value;
  data_.output = tensors.output;
  data_.row_sinks = tensors.row_sinks;
  IndexDocuments(request.options, plan_);
  return Cut();
}

absl::Status AttentionRun::Allocate(DataType dtype, const std::vector<int64_t>& shape, ResultTensor& tensor) {
  auto block = pool_->Allocate(static_cast<size_t>(TensorBytes(dtype, shape).value_or(0)));
  if (!block.ok()) return block.status();
  tensor = {dtype, shape, *std::move(block)};
  return absl::OkStatus();
}

absl::Status AttentionRun::AllocateOutput() {
  absl::Status status = Allocate(plan_.output_dtype, plan_.output_shape, result_.output);
  data_.output = result_.output.data.data();
  return status;
}

absl::Status AttentionRun::AllocateResults() {
  if (plan_.wants_lse) {
    if (absl::Status s = Allocate(DataType::kFloat32, plan_.lse_shape, result_.lse.emplace()); !s.ok()) return s;
    data_.lse = result_.lse->data.floats();
  }
  for (const auto& [planned, result, data] : {std::tuple{&plan_.weights, &result_.weights, &data_.weights},
                                              std::tuple{&plan_.scores, &result_.scores, &data_.scores}}) {
    if (!planned->has_value()) continue;
    if (absl::Status s = Allocate(plan_.pairs_dtype, (*planned)->shape, result->emplace()); !s.ok()) return s;
    *data = (*result)->data.data();
  }
  if (absl::Status s = summaries_.Begin(plan_, pool_); !s.ok()) return s;
  data_.summaries = summaries_.data();
  if (plan_.explain) {
    auto explained = AllocateExplained(*source_, plan_, pool_);
    if (!explained.ok()) return explained.status();
    result_.explain = *std::move(explained);
  }
  if (!plan_.mean_weights && !plan_.keeps_sums) return absl::OkStatus();
  for (const auto& [buffer, data] : {std::pair{&row_max_, &data_.row_max}, std::pair{&row_sum_, &data_.row_sum}}) {
    auto block = pool_->Allocate(static_cast<size_t>(plan_.rows) * sizeof(float));
    if (!block.ok()) return block.status();
    *buffer = *std::move(block);
    *data = buffer->floats();
  }
  return absl::OkStatus();
}

void AttentionRun::FillUnusedRows() {
  const Dims& dims = plan_.dims;
  const auto clear = [](std::byte* base, DataType dtype, int64_t at, int64_t n) {
    const int64_t element = ElementBytes(dtype);
    if (n > 0) std::memset(base + at * element, 0, static_cast<size_t>(n * element));
  };
  for (int64_t b = 0; b < dims.batch; ++b) {
    const int64_t kv_len = plan_.keys.count[b];
    for (int64_t q = plan_.q_used[b]; q < plan_.queries.count[b]; ++q) {
      for (int64_t h = 0; h < dims.heads; ++h) {
        if (data_.output != nullptr) clear(data_.output, plan_.output_dtype, plan_.OutputAt(b, h, q), dims.value_dim);
        if (data_.lse != nullptr) data_.lse[plan_.LseAt(b, h, q)] = -std::numeric_limits<float>::infinity();
        if (data_.scores != nullptr) {
          clear(data_.scores, plan_.pairs_dtype, plan_.PairsAt(*plan_.scores, b, h, q), kv_len);
        }
        if (data_.weights == nullptr || h >= plan_.weights->heads) continue;
        const int64_t slot = plan_.WeightsSlot(b, q);
        if (slot >= 0) {
          clear(data_.weights, plan_.pairs_dtype, plan_.PairsAt(*plan_.weights, b, h, slot), kv_len);
        }
      }
    }
  }
}

int64_t AttentionRun::UnitsOf(int64_t b) const {
  const int64_t blocks = Blocks(plan_.q_used[b] * plan_.dims.group(), rows_per_unit_);
  return plan_.mean_weights ? blocks : blocks * plan_.dims.kv_heads * partial_.parts(b).count;
}

absl::StatusOr<int64_t> AttentionRun::Cut() {
  // An average is computed for all heads in one go.
  if (!plan_.mean_weights) {
    if (absl::Status status = partial_.Begin(plan_, pool_); !status.ok()) return status;
  }
  rows_per_tile_ = RowsPerTile(engine_, plan_);
  // A tile's worth of queries is a whole number of tiles in every head.
  rows_per_unit_ = plan_.mean_weights ? rows_per_tile_ * plan_.dims.group() : rows_per_tile_;
  if (plan_.q_used.uniform() && !partial_.any()) {
    units_ = plan_.dims.batch * UnitsOf(0);
  } else {
    unit_starts_.reserve(static_cast<size_t>(plan_.dims.batch) + 1);
    for (int64_t b = 0; b < plan_.dims.batch; ++b) {
      unit_starts_.push_back(units_);
      units_ += UnitsOf(b);
    }
    unit_starts_.push_back(units_);
  }
  // By the mean, unless entries differ: then a claim of long ones must not take too long.
  const double mean = PredictCost(plan_, engine_) / static_cast<double>(std::max<int64_t>(1, units_));
  const double unit = plan_.q_used.uniform() ? mean : LargestUnitCost(plan_, rows_per_unit_);
  const double fitting = kFlopsPerClaim / std::max(1.0, unit);
  units_per_claim_ = units_;
  if (fitting < static_cast<double>(units_)) units_per_claim_ = fitting < 1 ? 1 : static_cast<int64_t>(fitting);
  units_left_ = units_;
  if (units_ == 0) return NothingToDo();
  return (units_ + units_per_claim_ - 1) / units_per_claim_;
}

// Within a head the last rows come first: with causal they are the longest, and short
// tiles at the end keep workers level.
AttentionRun::Unit AttentionRun::UnitAt(int64_t index) const {
  Unit unit;
  if (unit_starts_.empty()) {
    unit.batch = index / UnitsOf(0);
    index %= UnitsOf(0);
  } else {
    const auto next = std::upper_bound(unit_starts_.begin(), unit_starts_.end(), index);
    unit.batch = next - unit_starts_.begin() - 1;
    index -= *(next - 1);
  }
  const int64_t rows = plan_.q_used[unit.batch] * plan_.dims.group();
  const int64_t blocks = Blocks(rows, rows_per_unit_);
  // Only entries of one block are cut.
  const int64_t parts = partial_.parts(unit.batch).count;
  unit.part = index % parts;
  index /= parts;
  unit.kv_head = index / blocks;
  unit.row_begin = (blocks - 1 - index % blocks) * rows_per_unit_;
  unit.row_end = std::min(unit.row_begin + rows_per_unit_, rows);
  return unit;
}

absl::Status AttentionRun::RunTiles(TileEngine& engine, const Unit& unit) {
  for (int64_t begin = unit.row_begin; begin < unit.row_end; begin += rows_per_tile_) {
    const Tile tile{unit.batch, unit.kv_head, begin, std::min(begin + rows_per_tile_, unit.row_end)};
    const absl::StatusOr<RowCounts> counts = engine.Run(plan_, data_, tile);
    if (!counts.ok()) return counts.status();
    Count(*counts);
    tiles_.fetch_add(1, std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

void AttentionRun::Count(const RowCounts& counts) {
  empty_rows_.fetch_add(counts.empty, std::memory_order_relaxed);
  non_finite_rows_.fetch_add(counts.non_finite, std::memory_order_relaxed);
  pairs_.fetch_add(counts.pairs, std::memory_order_relaxed);
}

absl::Status AttentionRun::RunPart(TileEngine& engine, const Unit& unit, const KeyParts& parts) {
  const Tile tile{unit.batch, unit.kv_head, unit.row_begin, unit.row_end};
  const simd::RowState state = partial_.At(unit.batch, unit.kv_head, unit.part);
  ClearState(unit.row_end - unit.row_begin, state);
  const auto pairs = engine.AddPart(plan_, data_, tile, parts.keys(unit.part), state);
  if (!pairs.ok()) return pairs.status();
  Count({.pairs = *pairs});
  tiles_.fetch_add(1, std::memory_order_relaxed);
  if (!partial_.Done(unit.batch, unit.kv_head)) return absl::OkStatus();
  const auto counts = engine.Finish(plan_, data_, tile, partial_.Merge(unit.batch, unit.kv_head));
  if (!counts.ok()) return counts.status();
  Count(*counts);
  return absl::OkStatus();
}

absl::Status AttentionRun::RunUnit(TileEngine& engine, const Unit& unit) {
  if (const KeyParts parts = partial_.parts(unit.batch); parts.count > 1) return RunPart(engine, unit, parts);
  if (!plan_.mean_weights) return RunTiles(engine, unit);
  for (int64_t kv_head = 0; kv_head < plan_.dims.kv_heads; ++kv_head) {
    Unit head = unit;
    head.kv_head = kv_head;
    if (absl::Status s = RunTiles(engine, head); !s.ok()) return s;
  }
  const int64_t group = plan_.dims.group();
  return engine.MeanWeights(plan_, data_, unit.batch, unit.row_begin / group, unit.row_end / group);
}

absl::Status AttentionRun::RunClaim(int64_t claim) {
  if (gathers_) {
    gathering_.Run(claim);
    return --parts_left_ == 0 ? EndGathering() : absl::OkStatus();
  }
  TileEngine& engine = EngineForThisThread(engine_);
  const int64_t end = std::min((claim + 1) * units_per_claim_, units_);
  for (int64_t i = claim * units_per_claim_; i < end; ++i) {
    if (absl::Status status = RunUnit(engine, UnitAt(i)); !status.ok()) return status;
  }
  const int64_t ran = end - claim * units_per_claim_;
  return units_left_.fetch_sub(ran, std::memory_order_acq_rel) == ran ? Finish() : absl::OkStatus();
}

absl::Status AttentionRun::Finish() {
  if (data_.summaries != nullptr) {
    summaries_.Finish(plan_);
    result_.top_k = std::move(summaries_.top_k());
    result_.diagnostics = std::move(summaries_.diagnostics());
    result_.heatmap = std::move(summaries_.heatmap());
  }
  return plan_.explain ? Explain(plan_, data_, engine_, result_.explain) : absl::OkStatus();
}

AttentionResult AttentionRun::TakeResult() {
  result_.tiles = tiles_.load(std::memory_order_relaxed);
  result_.rows = {empty_rows_.load(std::memory_order_relaxed), non_finite_rows_.load(std::memory_order_relaxed),
                  pairs_.load(std::memory_order_relaxed)};
  const auto flops_per_pair = 2 * static_cast<double>(plan_.dims.head_dim + plan_.dims.value_dim);
  result_.flops = static_cast<double>(result_.rows.pairs) * flops_per_pair;
  return std::move(result_);
}

namespace {

size_t BytesOfSummaries(const AttentionResult& result) {
  size_t bytes = 0;
  if (result.top_k) bytes += result.top_k->weights.data.size() + result.top_k->keys.size() * sizeof(int64_t);
  if (result.heatmap) bytes += result.heatmap->mean.data.size() + result.heatmap->max.data.size();
  if (result.diagnostics) {
    for (const ResultTensor& tensor : result.diagnostics->heads) bytes += tensor.data.size();
    if (result.diagnostics->rows) bytes += kStatistics * result.diagnostics->rows->front().data.size();
    bytes += result.diagnostics->column_mass.data.size() + result.diagnostics->pattern_scores.data.size();
    bytes += result.diagnostics->column_keys.size() * sizeof(int64_t);
  }
  for (const NamedResult& named : result.explain) bytes += named.tensor.data.size();
  return bytes;
}

}  // namespace

int64_t BytesOf(const AttentionResult& result) {
  size_t bytes = result.output.data.size();
  for (const auto* tensor : {&result.lse, &result.weights, &result.scores}) {
    if (tensor->has_value()) bytes += (*tensor)->data.size();
  }
  bytes += BytesOfSummaries(result);
  return static_cast<int64_t>(bytes);
}

}  // namespace attnd
