#include "core/attention/summaries.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace attnd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

absl::Status Allocate(size_t bytes, BufferPool* pool, Buffer& buffer) {
  auto block = pool->Allocate(bytes);
  if (!block.ok()) return block.status();
  buffer = *std::move(block);
  return absl::OkStatus();
}

absl::Status AllocateFloats(std::vector<int64_t> shape, BufferPool* pool, ResultTensor& tensor) {
  tensor = {DataType::kFloat32, std::move(shape), {}};
  const auto bytes = static_cast<size_t>(TensorBytes(tensor.dtype, tensor.shape).value_or(0));
  return Allocate(bytes, pool, tensor.data);
}

size_t Floats(const ResultTensor& tensor) { return tensor.data.size() / sizeof(float); }

void Fill(const ResultTensor& tensor, float value) {
  std::fill(tensor.data.floats(), tensor.data.floats() + Floats(tensor), value);
}

template <typename T>
T* MakeZeros(const Buffer& buffer) {
  return new (buffer.data()) T[buffer.size() / sizeof(T)]();
}

size_t IndexOf(RowFigure figure) { return static_cast<size_t>(figure); }

// Means over the rows of a head that count, and what of them is a ratio.
class HeadMeans {
 public:
  HeadMeans(const AttentionPlan& plan, const SummaryData& data, int64_t batch, int64_t head) {
    const int64_t at = plan.LseAt(batch, head, 0);
    for (int64_t q = 0; q < plan.queries.count[batch]; ++q) {
      const float total = data.rows[IndexOf(RowFigure::kTotal)][at + q];
      if (!(total > 0)) continue;
      ++rows_;
      const auto figure = [&](size_t i) { return static_cast<double>(data.rows[i][at + q]); };
      for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += figure(i);
      entropy_ += figure(static_cast<size_t>(Statistic::kEvenness)) * figure(IndexOf(RowFigure::kLogVisible));
    }
  }

  [[nodiscard]] int64_t rows() const { return rows_; }

  [[nodiscard]] double operator[](Statistic statistic) const {
    if (rows_ == 0) return std::numeric_limits<double>::quiet_NaN();
    if (statistic != Statistic::kEvenness) return Mean(static_cast<size_t>(statistic));
    const double most = sums_[IndexOf(RowFigure::kLogVisible)];
    return most > 0 ? entropy_ / most : 1;
  }
  [[nodiscard]] double window_share() const { return Mean(IndexOf(RowFigure::kWindowShare)); }

 private:
  [[nodiscard]] double Mean(size_t i) const { return sums_[i] / static_cast<double>(rows_); }

  std::array<double, static_cast<size_t>(kRowFigures)> sums_ = {};
  // Of the rows' weights over their sums.
  double entropy_ = 0;
  int64_t rows_ = 0;
};

struct Column {
  int64_t key = -1;
  float mass = 0;
};

// The keys used with the largest mass, of equal ones the lower, up to `n`, at least one if there is
// one. `rows` is how many count.
std::vector<Column> StrongestColumns(const AttentionPlan& plan, const SummaryData& data, int64_t batch, int64_t head,
                                     int64_t rows) {
  const int64_t n = plan.diagnostics->columns;
  const double unit = 1 / (FixedPointOf(plan, batch) * static_cast<double>(rows));
  const std::atomic<int64_t>* sums = data.columns + plan.ColumnAt(batch, head);
  const KeyRange used{plan.visibility.kv_begin[batch], plan.visibility.kv_end[batch]};
  std::vector<Column> columns;
  columns.reserve(static_cast<size_t>(used.size()));
  for (int64_t k = used.begin; k < used.end; ++k) {
    columns.push_back({k, static_cast<float>(static_cast<double>(sums[k].load(std::memory_order_relaxed)) * unit)});
  }
  const int64_t wanted = std::min(std::max<int64_t>(n, 1), used.size());
  std::partial_sort(columns.begin(), columns.begin() + wanted, columns.end(), [](const Column& a, const Column& b) {
    return a.mass != b.mass ? a.mass > b.mass : a.key < b.key;
  });
  columns.resize(static_cast<size_t>(wanted));
  return columns;
}

}  // namespace

absl::Status Summaries::Begin(const AttentionPlan& plan, BufferPool* pool) {
  any_ = plan.diagnostics.has_value() || plan.top_k.has_value() || plan.heatmap.has_value();
  if (plan.diagnostics.has_value()) {
    if (absl::Status s = BeginDiagnostics(plan, pool); !s.ok()) return s;
  }
  if (plan.top_k.has_value()) {
    if (absl::Status s = BeginTopK(plan, pool); !s.ok()) return s;
  }
  return plan.heatmap.has_value() ? BeginHeatmap(plan, pool) : absl::OkStatus();
}

absl::Status Summaries::BeginDiagnostics(const AttentionPlan& plan, BufferPool* pool) {
  const auto rows = static_cast<size_t>(plan.rows) * sizeof(float);
  for (size_t i = 0; i < data_.rows.size(); ++i) {
    float*& data = data_.rows[i];
    if (i < kStatistics) {
      if (absl::Status s = AllocateFloats(plan.lse_shape, pool, rows_[i]); !s.ok()) return s;
      data = rows_[i].data.floats();
    } else {
      if (absl::Status s = Allocate(rows, pool, figures_[i - kStatistics]); !s.ok()) return s;
      data = figures_[i - kStatistics].floats();
    }
    std::fill(data, data + plan.rows, i == IndexOf(RowFigure::kTotal) ? 0 : kNan);
  }
  const auto columns = static_cast<size_t>(plan.total_keys * plan.dims.heads);
  if (absl::Status s = Allocate(columns * sizeof(std::atomic<int64_t>), pool, columns_); !s.ok()) return s;
  data_.columns = MakeZeros<std::atomic<int64_t>>(columns_);

  DiagnosticsResult& result = diagnostics_.emplace();
  const std::vector<int64_t> heads = {plan.dims.batch, plan.dims.heads};
  for (ResultTensor& tensor : result.heads) {
    if (absl::Status s = AllocateFloats(heads, pool, tensor); !s.ok()) return s;
  }
  if (absl::Status s = AllocateFloats(heads, pool, result.pattern_scores); !s.ok()) return s;
  const std::vector<int64_t> shape = {plan.dims.batch, plan.dims.heads, plan.diagnostics->columns};
  if (absl::Status s = AllocateFloats(shape, pool, result.column_mass); !s.ok()) return s;
  Fill(result.column_mass, 0);
  result.column_keys.assign(Floats(result.column_mass), -1);
  result.patterns.assign(Floats(result.pattern_scores), Pattern::kEmpty);
  return absl::OkStatus();
}

absl::Status Summaries::BeginTopK(const AttentionPlan& plan, BufferPool* pool) {
  TopKResult& top_k = top_k_.emplace();
  if (absl::Status s = AllocateFloats(plan.top_k->shape, pool, top_k.weights); !s.ok()) return s;
  Fill(top_k.weights, 0);
  top_k.keys.assign(Floats(top_k.weights), -1);
  data_.top_weights = top_k.weights.data.floats();
  data_.top_keys = top_k.keys.data();
  return absl::OkStatus();
}

absl::Status Summaries::BeginHeatmap(const AttentionPlan& plan, BufferPool* pool) {
  HeatmapResult& heatmap = heatmap_.emplace();
  if (absl::Status s = AllocateFloats(plan.heatmap->shape, pool, heatmap.mean); !s.ok()) return s;
  if (absl::Status s = AllocateFloats(plan.heatmap->shape, pool, heatmap.max); !s.ok()) return s;
  const auto cells = static_cast<size_t>(plan.heatmap->cells);
  if (absl::Status s = Allocate(cells * sizeof(HeatCell), pool, cells_); !s.ok()) return s;
  data_.cells = MakeZeros<HeatCell>(cells_);
  return absl::OkStatus();
}

void Summaries::Finish(const AttentionPlan& plan) {
  if (diagnostics_.has_value()) {
    for (int64_t b = 0; b < plan.dims.batch; ++b) {
      for (int64_t h = 0; h < plan.dims.heads; ++h) FinishHead(plan, b, h);
    }
    if (plan.diagnostics->rows) diagnostics_->rows = std::move(rows_);
  }
  if (heatmap_.has_value()) FinishHeatmap(plan);
}

void Summaries::FinishHead(const AttentionPlan& plan, int64_t batch, int64_t head) {
  const HeadMeans means(plan, data_, batch, head);
  const int64_t at = batch * plan.dims.heads + head;
  for (size_t i = 0; i < kStatistics; ++i) {
    diagnostics_->heads[i].data.floats()[at] = static_cast<float>(means[static_cast<Statistic>(i)]);
  }
  PatternMasses masses{.empty = means.rows() == 0};
  if (!masses.empty) {
    const int64_t n = plan.diagnostics->columns;
    const auto columns = StrongestColumns(plan, data_, batch, head, means.rows());
    for (size_t i = 0; i < std::min(columns.size(), static_cast<size_t>(n)); ++i) {
      const int64_t to = at * n + static_cast<int64_t>(i);
      diagnostics_->column_mass.data.floats()[to] = columns[i].mass;
      diagnostics_->column_keys[static_cast<size_t>(to)] = columns[i].key;
    }
    masses.column = static_cast<double>(columns.front().mass);
    masses.column_is_first = columns.front().key == plan.visibility.kv_begin[batch];
    masses.evenness = means[Statistic::kEvenness];
    if (plan.DiagnosesPositions(batch)) {
      masses.self = means[Statistic::kSelf];
      masses.previous = means[Statistic::kPrevious];
      masses.next = means[Statistic::kNext];
      masses.window = means[Statistic::kWindow];
      masses.window_share = means.window_share();
    }
  }
  const HeadPattern pattern = ClassifyHead(masses);
  diagnostics_->patterns[static_cast<size_t>(at)] = pattern.pattern;
  diagnostics_->pattern_scores.data.floats()[at] = pattern.score;
}

void Summaries::FinishHeatmap(const AttentionPlan& plan) {
  float* mean = heatmap_->mean.data.floats();
  float* max = heatmap_->max.data.floats();
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    const double parts = FixedPointOf(plan, b);
    const int64_t begin = plan.HeatmapAt(b, 0);
    const int64_t end = begin + plan.dims.heads * plan.heatmap->down[b] * plan.heatmap->across[b];
    for (int64_t i = begin; i < end; ++i) {
      const HeatCell& cell = data_.cells[i];
      const auto pairs = static_cast<double>(cell.pairs.load(std::memory_order_relaxed));
      const auto sum = static_cast<double>(cell.sum.load(std::memory_order_relaxed)) / parts;
      const uint32_t bits = cell.max.load(std::memory_order_relaxed);
      mean[i] = pairs == 0 ? kNan : static_cast<float>(sum / pairs);
      max[i] = pairs == 0 ? kNan : std::bit_cast<float>(bits);
    }
  }
}

}  // namespace attnd
