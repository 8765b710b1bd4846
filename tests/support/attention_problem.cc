#include "tests/support/attention_problem.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>
#include <span>
#include <sstream>

#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

std::align_val_t AlignmentOf(size_t bytes) { return std::align_val_t{bytes >= kHugePage ? kHugePage : 64}; }

// Never without memory behind it, so that data() is aligned even for 0 elements.
AlignedFloats MakeFloats(int64_t elements, float value) {
  AlignedFloats floats;
  floats.reserve(static_cast<size_t>(std::max<int64_t>(1, elements)));
  floats.assign(static_cast<size_t>(elements), value);
  return floats;
}

AlignedFloats RandomFloats(int64_t elements, float factor, Random& random) {
  AlignedFloats floats = MakeFloats(elements, 0);
  for (float& x : floats) x = factor * random.Normal();
  return floats;
}

std::vector<int64_t> TensorShape(Layout layout, int64_t batch, int64_t heads, int64_t len, int64_t dim) {
  if (layout == Layout::kHeadsFirst) return {batch, heads, len, dim};
  return {batch, len, heads, dim};
}

TensorView ViewOf(std::vector<int64_t> shape, const AlignedFloats& data) {
  return {DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(data)))};
}

std::byte* BytesAt(AlignedFloats& floats) { return reinterpret_cast<std::byte*>(floats.data()); }

float* Row(AlignedFloats& tensor, const Strides& strides, int64_t b, int64_t h, int64_t i) {
  return tensor.data() + b * strides.batch + h * strides.head + i * strides.token;
}

}  // namespace

void* AllocateAligned(size_t bytes) {
  void* memory = ::operator new(bytes, AlignmentOf(bytes));
  if (bytes >= kHugePage) (void)madvise(memory, bytes, MADV_HUGEPAGE);  // advice only
  return memory;
}

void FreeAligned(void* memory, size_t bytes) { ::operator delete(memory, AlignmentOf(bytes)); }

std::string ProblemSpec::ToString() const {
  std::ostringstream text;
  text << "batch " << dims.batch << " heads " << dims.heads << ":" << dims.kv_heads << " q_len " << dims.q_len
       << " kv_len " << dims.kv_len << " head_dim " << dims.head_dim << " value_dim " << dims.value_dim
       << (layout == Layout::kHeadsFirst ? " heads first" : " tokens first");
  if (options.scale.has_value()) text << " scale " << *options.scale;
  if (options.causal) text << " causal, alignment " << static_cast<int>(options.alignment);
  for (const int64_t offset : options.q_offset) text << " q_offset " << offset;
  for (const int64_t offset : options.k_offset) text << " k_offset " << offset;
  if (query_factor != 1) text << " query x " << query_factor;
  return text.str();
}

AttentionProblem::AttentionProblem(const ProblemSpec& spec) : spec_(spec) {
  const Dims& dims = spec.dims;
  Random random(spec.seed);
  query = RandomFloats(dims.batch * dims.heads * dims.q_len * dims.head_dim, spec.query_factor, random);
  key = RandomFloats(dims.batch * dims.kv_heads * dims.kv_len * dims.head_dim, 1, random);
  value = RandomFloats(dims.batch * dims.kv_heads * dims.kv_len * dims.value_dim, 1, random);
  auto plan = PlanAttention(Request(), AttentionLimits());
  EXPECT_TRUE(plan.ok()) << spec.ToString() << ": " << plan.status();
  if (plan.ok()) plan_ = *std::move(plan);
}

AttentionRequest AttentionProblem::Request() const {
  const Dims& dims = spec_.dims;
  AttentionRequest request;
  request.layout = spec_.layout;
  request.options = spec_.options;
  request.outputs = spec_.outputs;
  request.query = ViewOf(TensorShape(spec_.layout, dims.batch, dims.heads, dims.q_len, dims.head_dim), query);
  request.key = ViewOf(TensorShape(spec_.layout, dims.batch, dims.kv_heads, dims.kv_len, dims.head_dim), key);
  request.value = ViewOf(TensorShape(spec_.layout, dims.batch, dims.kv_heads, dims.kv_len, dims.value_dim), value);
  return request;
}

AttentionData AttentionProblem::Inputs() const {
  AttentionData data;
  data.query = reinterpret_cast<const std::byte*>(query.data());
  data.key = reinterpret_cast<const std::byte*>(key.data());
  data.value = reinterpret_cast<const std::byte*>(value.data());
  return data;
}

float* AttentionProblem::QueryRow(int64_t b, int64_t h, int64_t i) { return Row(query, plan_.query, b, h, i); }
float* AttentionProblem::KeyRow(int64_t b, int64_t h, int64_t j) { return Row(key, plan_.key, b, h, j); }
float* AttentionProblem::ValueRow(int64_t b, int64_t h, int64_t j) { return Row(value, plan_.value, b, h, j); }

OutputBuffers::OutputBuffers(const AttentionPlan& plan) {
  const auto untouched = std::bit_cast<float>(kUntouchedBits);
  output = MakeFloats(plan.rows * plan.dims.value_dim, untouched);
  lse = MakeFloats(plan.wants_lse ? plan.rows : 0, untouched);
  weights = MakeFloats(plan.weights.has_value() ? plan.weights->elements : 0, untouched);
}

AttentionData OutputBuffers::Bind(AttentionData inputs) {
  inputs.output = BytesAt(output);
  inputs.lse = lse.empty() ? nullptr : lse.data();
  inputs.weights = weights.empty() ? nullptr : BytesAt(weights);
  return inputs;
}

std::vector<float> OutputBuffers::HeadsFirstOutput(const AttentionPlan& plan) const {
  const Dims& dims = plan.dims;
  std::vector<float> rows;
  rows.reserve(output.size());
  for (int64_t b = 0; b < dims.batch; ++b) {
    for (int64_t h = 0; h < dims.heads; ++h) {
      for (int64_t i = 0; i < dims.q_len; ++i) {
        const float* row = output.data() + b * plan.output.batch + h * plan.output.head + i * plan.output.token;
        rows.insert(rows.end(), row, row + dims.value_dim);
      }
    }
  }
  return rows;
}

std::vector<int64_t> OutputShape(const AttentionPlan& plan) {
  return {plan.dims.batch, plan.dims.heads, plan.dims.q_len, plan.dims.value_dim};
}
std::vector<int64_t> LseShape(const AttentionPlan& plan) { return {plan.dims.batch, plan.dims.heads, plan.dims.q_len}; }
std::vector<int64_t> WeightsShape(const AttentionPlan& plan) {
  return {plan.dims.batch, plan.dims.heads, plan.dims.q_len, plan.dims.kv_len};
}

std::vector<Tile> TilesOf(const AttentionPlan& plan, int64_t rows_per_tile) {
  std::vector<Tile> tiles;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    const int64_t rows = plan.dims.group() * plan.q_used[b];
    for (int64_t h = 0; h < plan.dims.kv_heads; ++h) {
      for (int64_t begin = 0; begin < rows; begin += rows_per_tile) {
        tiles.push_back({b, h, begin, std::min(begin + rows_per_tile, rows)});
      }
    }
  }
  return tiles;
}

EngineResult RunTiles(const AttentionPlan& plan, const AttentionData& inputs, const std::vector<Tile>& tiles) {
  OutputBuffers buffers(plan);
  const AttentionData data = buffers.Bind(inputs);
  TileEngine& engine = EngineForThisThread(TestEngine());
  EngineResult result;
  for (const Tile& tile : tiles) {
    const absl::StatusOr<RowCounts> counts = engine.Run(plan, data, tile);
    EXPECT_TRUE(counts.ok()) << counts.status();
    if (!counts.ok()) break;
    result.rows.empty += counts->empty;
    result.rows.non_finite += counts->non_finite;
    result.rows.pairs += counts->pairs;
  }
  result.output = buffers.HeadsFirstOutput(plan);
  result.lse.assign(buffers.lse.begin(), buffers.lse.end());
  result.weights.assign(buffers.weights.begin(), buffers.weights.end());
  return result;
}

EngineResult RunEngine(const AttentionPlan& plan, const AttentionData& inputs) {
  return RunTiles(plan, inputs, TilesOf(plan, RowsPerTile(TestEngine(), plan)));
}

EngineResult RunEngine(const AttentionProblem& problem) { return RunEngine(problem.plan(), problem.Inputs()); }

Tolerances TolerancesOf(const AttentionRequest& request, const ReferenceResult<double>& exact) {
  Tolerances tolerances;
  tolerances.output = OutputTolerance(request, exact);
  const ReferenceResult<float> plain = ReferenceAttention<float>(request);
  const double rounding = 0x1p-24 * (1 + exact.magnitude);
  tolerances.weights = 2 * WorstError(plain.weights, exact.weights) + rounding;
  tolerances.lse = 2 * WorstError(plain.lse, exact.lse) + 2 * rounding;
  return tolerances;
}

void ExpectMatchesReference(const AttentionProblem& problem, const EngineResult& result) {
  const AttentionPlan& plan = problem.plan();
  const ReferenceResult<double> exact = ReferenceAttention<double>(problem.Request());
  const Tolerances tolerances = TolerancesOf(problem.Request(), exact);
  EXPECT_TRUE(AlmostEqual(result.output, exact.output, tolerances.output, OutputShape(plan)));
  if (plan.wants_lse) {
    EXPECT_TRUE(AlmostEqual(result.lse, exact.lse, tolerances.lse, LseShape(plan)));
  }
  if (plan.weights.has_value()) {
    EXPECT_TRUE(AlmostEqual(result.weights, exact.weights, tolerances.weights, WeightsShape(plan)));
  }
}

}  // namespace attnd
