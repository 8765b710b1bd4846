#include "core/attention/merge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/layout.h"
#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"
#include "core/attention/tensor_checks.h"
#include "core/errors.h"

namespace attnd {
namespace {

constexpr double kNegInf = -std::numeric_limits<double>::infinity();
// Floats that a worker merges in one go.
constexpr int64_t kFloatsPerTile = int64_t{1} << 18;
// What moving a float costs, and weighing a row of a part, in floating-point operations.
constexpr double kFlopsPerFloat = 16;
constexpr double kFlopsPerWeight = 5000;

absl::Status CheckPart(const std::string& name, const PartialResult& part, const PartialResult& first) {
  const std::string output = FieldPath(name, "output");
  const std::string lse = FieldPath(name, "lse");
  if (absl::Status s = CheckTensor(output, part.output, TensorUse::kNumbers); !s.ok()) return s;
  if (absl::Status s = CheckTensor(lse, part.lse, TensorUse::kNumbers); !s.ok()) return s;
  if (part.lse.dtype != DataType::kFloat32) {
    return InvalidField(FieldPath(lse, "dtype"),
                        absl::StrCat("is ", DataTypeName(part.lse.dtype), "; FLOAT32 is allowed"));
  }
  if (part.output.dtype != first.output.dtype) {
    return InvalidField(FieldPath(output, "dtype"),
                        absl::StrCat("is ", DataTypeName(part.output.dtype), ", but that of parts[0] is ",
                                     DataTypeName(first.output.dtype), "; they must agree"));
  }
  for (const auto& [field, shape, wanted] : {std::tuple{&output, &part.output.shape, &first.output.shape},
                                             std::tuple{&lse, &part.lse.shape, &first.lse.shape}}) {
    if (*shape == *wanted) continue;
    return InvalidField(FieldPath(*field, "shape"),
                        absl::StrCat("is ", ShapeString(*shape), ", but that of parts[0] is ", ShapeString(*wanted),
                                     "; they must agree"));
  }
  return absl::OkStatus();
}

class MergeJob final : public Job {
 public:
  MergeJob(MergeInputs inputs, MergePlan plan, BufferPool* pool, MergeCallback done)
      : inputs_(std::move(inputs)), plan_(std::move(plan)), pool_(pool), done_(std::move(done)) {}

  absl::StatusOr<int64_t> Prepare() override;
  absl::Status RunTile(int64_t tile) override;
  void Done(const absl::Status& status, const JobTimings& timings) override {
    input_ = Buffer();
    inputs_ = MergeInputs();
    if (!status.ok()) return done_(status, timings);
    done_(std::move(result_), timings);
  }

 private:
  // A part's tensors, gathered.
  struct Part {
    const std::byte* output = nullptr;
    const float* lse = nullptr;
  };
  // A row's place among the rows of the LSE.
  struct Row {
    int64_t lse = 0;
    int64_t output = 0;
    int64_t head = 0;
  };

  absl::Status Gather();
  [[nodiscard]] Row RowAt(int64_t row) const;
  struct RowScratch {
    std::vector<float> factors;  // [parts]
    std::vector<float> part;     // [value_dim]
    std::vector<float> sum;      // [value_dim]
  };
  void MergeRow(const Row& row, RowScratch& scratch);
  // exp(LSE_p - m) / s for every part; returns the merged LSE.
  double Factors(const Row& row, std::vector<float>& factors) const;

  MergeInputs inputs_;
  const MergePlan plan_;
  BufferPool* const pool_;
  const MergeCallback done_;
  Buffer input_;
  std::vector<Part> parts_;
  std::vector<float> sinks_;
  int64_t rows_per_tile_ = 1;
  MergeResult result_;
};

absl::StatusOr<int64_t> MergeJob::Prepare() {
  for (const auto& [dtype, shape, tensor] : {std::tuple{plan_.dtype, &plan_.output_shape, &result_.output},
                                             std::tuple{DataType::kFloat32, &plan_.lse_shape, &result_.lse}}) {
    auto block = pool_->Allocate(static_cast<size_t>(TensorBytes(dtype, *shape).value_or(0)));
    if (!block.ok()) return block.status();
    *tensor = {dtype, *shape, *std::move(block)};
  }
  if (absl::Status s = Gather(); !s.ok()) return s;
  rows_per_tile_ = std::max<int64_t>(1, kFloatsPerTile / (plan_.value_dim * plan_.parts));
  return (plan_.rows + rows_per_tile_ - 1) / rows_per_tile_;
}

absl::Status MergeJob::Gather() {
  size_t size = 0;
  for (const PartialResult& part : inputs_.parts) {
    size += AlignedSize(part.output.bytes.size()) + AlignedSize(part.lse.bytes.size());
  }
  auto block = pool_->Allocate(size);
  if (!block.ok()) return block.status();
  input_ = *std::move(block);
  std::byte* at = input_.data();
  const auto copy = [&at](const TensorView& tensor) {
    tensor.bytes.CopyTo(at);
    return std::exchange(at, at + AlignedSize(tensor.bytes.size()));
  };
  for (const PartialResult& part : inputs_.parts) {
    const std::byte* output = copy(part.output);
    parts_.push_back({output, reinterpret_cast<const float*>(copy(part.lse))});
  }
  if (inputs_.sinks.has_value()) {
    std::vector<std::byte> raw(inputs_.sinks->bytes.size());
    inputs_.sinks->bytes.CopyTo(raw.data());
    sinks_.resize(static_cast<size_t>(plan_.heads));
    simd::LoadRow(raw.data(), inputs_.sinks->dtype, plan_.heads, sinks_.data());
  }
  inputs_ = MergeInputs();
  return absl::OkStatus();
}

MergeJob::Row MergeJob::RowAt(int64_t row) const {
  const int64_t q = row % plan_.q_len;
  const int64_t head = row / plan_.q_len % plan_.heads;
  const int64_t b = row / plan_.q_len / plan_.heads;
  return {row, b * plan_.output.batch + head * plan_.output.head + q * plan_.output.token, head};
}

double MergeJob::Factors(const Row& row, std::vector<float>& factors) const {
  const double sink = sinks_.empty() ? kNegInf : sinks_[static_cast<size_t>(row.head)];
  // Not std::max, which may drop a NaN.
  const auto larger = [](double a, double b) { return a >= b || std::isnan(a) ? a : b; };
  double max = kNegInf;
  for (const Part& part : parts_) max = larger(max, part.lse[row.lse]);
  max = larger(max, sink);
  if (max == kNegInf) {
    std::fill(factors.begin(), factors.end(), 0.0F);
    return kNegInf;
  }
  double sum = 0;
  for (const Part& part : parts_) sum += std::exp(part.lse[row.lse] - max);
  sum += std::exp(sink - max);
  for (size_t p = 0; p < parts_.size(); ++p) {
    factors[p] = static_cast<float>(std::exp(parts_[p].lse[row.lse] - max) / sum);
  }
  return max + std::log(sum);
}

void MergeJob::MergeRow(const Row& row, RowScratch& scratch) {
  auto& [factors, part, sum] = scratch;
  result_.lse.data.floats()[row.lse] = static_cast<float>(Factors(row, factors));
  const int64_t offset = row.output * ElementBytes(plan_.dtype);
  bool first = true;
  for (size_t p = 0; p < parts_.size(); ++p) {
    // Empty parts may hold anything.
    if (parts_[p].lse[row.lse] == static_cast<float>(kNegInf)) continue;
    simd::LoadRow(parts_[p].output + offset, plan_.dtype, plan_.value_dim, part.data());
    if (std::exchange(first, false)) {
      simd::ScaleRow(part.data(), plan_.value_dim, factors[p], sum.data());
    } else {
      simd::AddScaledRow(part.data(), plan_.value_dim, factors[p], sum.data());
    }
  }
  if (first) std::fill(sum.begin(), sum.end(), 0.0F);
  simd::StoreRow(sum.data(), plan_.value_dim, plan_.dtype, result_.output.data.data() + offset);
}

absl::Status MergeJob::RunTile(int64_t tile) {
  const auto dim = static_cast<size_t>(plan_.value_dim);
  RowScratch scratch{std::vector<float>(parts_.size()), std::vector<float>(dim), std::vector<float>(dim)};
  const int64_t end = std::min((tile + 1) * rows_per_tile_, plan_.rows);
  for (int64_t row = tile * rows_per_tile_; row < end; ++row) MergeRow(RowAt(row), scratch);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MergePlan> PlanMerge(const MergeInputs& inputs, const AttentionLimits& limits) {
  if (inputs.parts.empty()) return InvalidField("parts", "is empty; at least one part is needed");
  const PartialResult& first = inputs.parts[0];
  for (size_t i = 0; i < inputs.parts.size(); ++i) {
    if (absl::Status s = CheckPart(absl::StrCat("parts[", i, "]"), inputs.parts[i], first); !s.ok()) return s;
  }
  // What the 3-D form of an output leaves out, the LSE has.
  const bool joined = inputs.layout == Layout::kTokensFirst && first.output.shape.size() == 3;
  const auto heads = joined && first.lse.shape.size() == 3 ? std::optional(first.lse.shape[1]) : std::nullopt;
  const auto dims = DimsOf("parts[0].output", first.output, inputs.layout, "parts[0].lse.shape", heads);
  if (!dims.ok()) return dims.status();
  MergePlan plan;
  plan.batch = dims->batch;
  plan.heads = dims->heads;
  plan.q_len = dims->len;
  plan.value_dim = dims->dim;
  const bool packed = inputs.layout == Layout::kPacked;
  const std::vector<int64_t> rows =
      packed ? std::vector{plan.heads, plan.q_len} : std::vector{plan.batch, plan.heads, plan.q_len};
  if (first.lse.shape != rows) {
    return InvalidField(
        "parts[0].lse.shape",
        absl::StrCat("is ", ShapeString(first.lse.shape), "; the output's rows ",
                     packed ? "[heads, total_len] = " : "[batch, heads, q_len] = ", ShapeString(rows), " are allowed"));
  }
  if (absl::Status s = CheckPerHead("sinks", inputs.sinks, plan.heads); !s.ok()) return s;
  if (plan.value_dim > limits.max_head_dim) {
    return InvalidField("parts[0].output.shape",
                        absl::StrCat("has ", plan.value_dim, " elements per head; the limit is ", limits.max_head_dim));
  }
  plan.dtype = first.output.dtype;
  plan.output_shape = first.output.shape;
  plan.lse_shape = rows;
  plan.parts = static_cast<int64_t>(inputs.parts.size());
  plan.output_bytes = static_cast<int64_t>(first.output.bytes.size() + first.lse.bytes.size());
  for (const PartialResult& part : inputs.parts) {
    plan.input_bytes += static_cast<int64_t>(part.output.bytes.size() + part.lse.bytes.size());
  }
  if (plan.output_bytes > limits.max_output_bytes) {
    return InvalidField("parts[0].output", absl::StrCat("and lse have ", plan.output_bytes,
                                                        " bytes; the limit for a result is ", limits.max_output_bytes));
  }
  // Extents of tensors without elements may be of any size.
  if (plan.output_bytes > 0) {
    plan.output = StridesOf(inputs.layout, plan.heads, plan.q_len, plan.value_dim);
    plan.rows = plan.batch * plan.heads * plan.q_len;
  }
  return plan;
}

std::shared_ptr<Job> NewMergeJob(MergeInputs inputs, MergePlan plan, BufferPool* pool, MergeCallback done) {
  return std::make_shared<MergeJob>(std::move(inputs), std::move(plan), pool, std::move(done));
}

JobSpec MergeJobSpec(const MergePlan& plan) {
  JobSpec spec;
  spec.flops = static_cast<double>(plan.input_bytes + plan.output_bytes) / sizeof(float) * kFlopsPerFloat +
               static_cast<double>(plan.rows) * static_cast<double>(plan.parts) * kFlopsPerWeight;
  // The message's slices and the gathered copy live at the same time for a moment.
  spec.bytes = 2 * plan.input_bytes + plan.output_bytes;
  return spec;
}

absl::StatusOr<MergeResult> Merge(MergeInputs inputs, BufferPool* pool) {
  const auto plan = PlanMerge(inputs, AttentionLimits());
  if (!plan.ok()) return plan.status();
  absl::StatusOr<MergeResult> merged;
  const auto job = NewMergeJob(
      std::move(inputs), *plan, pool,
      [&merged](absl::StatusOr<MergeResult>&& result, const JobTimings& /*timings*/) { merged = std::move(result); });
  const auto tiles = job->Prepare();
  absl::Status status = tiles.status();
  for (int64_t tile = 0; status.ok() && tile < *tiles; ++tile) status = job->RunTile(tile);
  job->Done(status, {});
  return merged;
}

}  // namespace attnd
