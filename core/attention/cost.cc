#include "core/attention/cost.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/attention/explain.h"
#include "core/attention/strip_statistics.h"

namespace attnd {
namespace {

// What things cost in floating-point operations of a matrix product, as ./dev bench has them.
constexpr double kFlopsPerFloatMoved = 64;
// Of keys and values, which are read in order.
constexpr double kFlopsPerFloatRead = 16;
// Per (row, key) pair: the softmax, and what options add.
constexpr double kFlopsPerSoftmaxPair = 16;
constexpr double kFlopsPerMaskedPair = 64;
constexpr double kFlopsPerBiasedPair = 96;
constexpr double kFlopsPerCappedPair = 96;
constexpr double kFlopsPerAlibiPair = 32;
constexpr double kFlopsPerDiagnosedPair = 64;
constexpr double kFlopsPerPooledPair = 128;
// Of which a strip's blocks must be kept to make statistics in one pass, about.
constexpr int64_t kRowsKeptAtLeast = 32;
// Sine and cosine of an angle, and a float that is turned.
constexpr double kFlopsPerAngle = 400;
constexpr double kFlopsPerFloatTurned = 128;
// An element of a list, looked up.
constexpr double kFlopsPerDocumentId = 100;
// A tile, whatever is in it: half a microsecond.
constexpr double kFlopsPerTile = 2e4;
// Keys beyond the visible ones that a row of a tile is computed with, in the mean: up to
// the end of what its neighbours see, in whole vectors.
constexpr double kKeysBeyondVisible = 32;

// Rows that are computed, those that only fill up vectors or products included.
double PaddedRows(const AttentionPlan& plan, EngineKind engine) {
  const Dims& dims = plan.dims;
  const auto padded = [&](int64_t b) {
    return static_cast<double>(ComputedRows(engine, plan.q_used[b] * dims.group()));
  };
  double rows = 0;
  if (plan.q_used.uniform()) {
    rows = static_cast<double>(dims.batch) * padded(0);
  } else {
    for (int64_t b = 0; b < dims.batch; ++b) rows += padded(b);
  }
  return rows * static_cast<double>(dims.kv_heads);
}

// That cost something.
double Tiles(const AttentionPlan& plan, EngineKind engine) {
  const auto rows_per_tile = static_cast<double>(RowsPerTile(engine, plan));
  const auto tiles = [&](int64_t b) {
    return std::ceil(static_cast<double>(plan.q_used[b] * plan.dims.group()) / rows_per_tile);
  };
  double sum = 0;
  if (plan.q_used.uniform()) {
    sum = static_cast<double>(plan.dims.batch) * tiles(0);
  } else {
    for (int64_t b = 0; b < plan.dims.batch; ++b) sum += tiles(b);
  }
  return sum * static_cast<double>(plan.dims.kv_heads);
}

// Beside the products, of a (row, key) pair.
double FlopsPerPair(const AttentionPlan& plan) {
  return kFlopsPerSoftmaxPair + kFlopsPerMaskedPair * static_cast<double>(plan.masks.size()) +
         kFlopsPerBiasedPair * static_cast<double>(plan.biases.size()) + (plan.softcap > 0 ? kFlopsPerCappedPair : 0) +
         (plan.has_alibi ? kFlopsPerAlibiPair : 0) + (plan.diagnostics.has_value() ? kFlopsPerDiagnosedPair : 0);
}

// The same of the second pass over scores that top-k, heatmaps and some diagnostics need.
double FlopsPerPairAgain(const AttentionPlan& plan) {
  const bool pooled = plan.top_k.has_value() || plan.heatmap.has_value();
  const bool again = pooled || (plan.diagnostics.has_value() && StripStatistics::MostRows(plan) < kRowsKeptAtLeast);
  if (!again) return 0;
  return 2 * static_cast<double>(plan.dims.head_dim) + FlopsPerPair(plan) + kFlopsPerPooledPair;
}

double RopeCost(const AttentionPlan& plan) {
  if (!plan.rope.has_value()) return 0;
  const auto queries = static_cast<double>(plan.total_queries);
  const auto keys = static_cast<double>(plan.total_keys);
  const auto dim = static_cast<double>(plan.dims.head_dim);
  const int64_t angles = plan.rope->rotary_dim / 2;
  return (queries + keys) * static_cast<double>(angles) * kFlopsPerAngle +
         (queries * static_cast<double>(plan.dims.heads) + keys * static_cast<double>(plan.dims.kv_heads)) * dim *
             kFlopsPerFloatTurned;
}

}  // namespace

double PredictCost(const AttentionPlan& plan, EngineKind engine) {
  if (plan.rows == 0) return 0;
  const Dims& dims = plan.dims;
  const auto rows = static_cast<double>(plan.rows);
  const auto dim = static_cast<double>(dims.head_dim + dims.value_dim);
  const double pairs_per_row = plan.flops / (2 * dim) / rows + (dims.kv_len > 0 ? kKeysBeyondVisible : 0);
  const double diagnosed = plan.diagnostics.has_value() ? kFlopsPerDiagnosedPair : 0;
  double flops =
      pairs_per_row * PaddedRows(plan, engine) * (2 * dim + FlopsPerPair(plan) + diagnosed + FlopsPerPairAgain(plan));
  flops += static_cast<double>(plan.total_keys * dims.kv_heads) * dim * kFlopsPerFloatRead;
  double floats = rows * dim;
  for (const auto* pairs : {&plan.weights, &plan.scores}) {
    if (!pairs->has_value()) continue;
    const auto elements = static_cast<double>((*pairs)->elements);
    // Averages are written once and computed for every head.
    const int64_t computed = dims.heads / (*pairs)->heads;
    flops += elements * static_cast<double>(computed) * (2 * static_cast<double>(dims.head_dim) + FlopsPerPair(plan));
    floats += elements;
  }
  if (plan.has_documents) {
    flops += static_cast<double>(plan.total_queries + plan.total_keys) * kFlopsPerDocumentId;
  }
  flops += floats * kFlopsPerFloatMoved + Tiles(plan, engine) * kFlopsPerTile;
  if (plan.explain) flops *= static_cast<double>(1 + ExplainedStages(plan.softcap > 0));
  return flops + RopeCost(plan);
}

double LargestUnitCost(const AttentionPlan& plan, int64_t rows) {
  const auto dim = static_cast<double>(plan.dims.head_dim + plan.dims.value_dim);
  return static_cast<double>(rows) * static_cast<double>(plan.dims.kv_len) *
         (2 * dim + FlopsPerPair(plan) + FlopsPerPairAgain(plan));
}

}  // namespace attnd
