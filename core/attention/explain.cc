#include "core/attention/explain.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/simd_rows.h"
#include "core/attention/tile_visibility.h"
#include "core/errors.h"

namespace attnd {
namespace {

struct NamedStage {
  ScoreStage stage;
  const char* name;
};

std::vector<NamedStage> StagesOf(bool has_softcap) {
  std::vector<NamedStage> stages = {{ScoreStage::kUnscaled, "unscaled"}, {ScoreStage::kScaled, "scaled"}};
  if (has_softcap) stages.push_back({ScoreStage::kCapped, "capped"});
  stages.push_back({ScoreStage::kBiased, "biased"});
  return stages;
}

// The problem without the results that its request asks for: all outputs in float32 alone.
AttentionPlan Bare(const AttentionPlan& plan) {
  AttentionPlan bare = plan;
  bare.output_dtype = DataType::kFloat32;
  bare.pairs_dtype = DataType::kFloat32;
  bare.wants_lse = false;
  bare.mean_weights = false;
  bare.keeps_sums = false;
  bare.score_stage = ScoreStage::kUnset;
  bare.weights.reset();
  bare.scores.reset();
  bare.listed_rows.clear();
  bare.top_k.reset();
  bare.diagnostics.reset();
  bare.heatmap.reset();
  bare.explain.reset();
  return bare;
}

// What of `data` is read.
AttentionData InputsOf(const AttentionData& data) {
  AttentionData inputs;
  inputs.query = data.query;
  inputs.key = data.key;
  inputs.value = data.value;
  inputs.masks = data.masks;
  inputs.biases = data.biases;
  inputs.alibi_slopes = data.alibi_slopes;
  inputs.sinks = data.sinks;
  inputs.row_sinks = data.row_sinks;
  return inputs;
}

// f(tile) for all tiles, until one fails.
template <typename F>
absl::Status ForEachTile(const AttentionPlan& plan, EngineKind engine, F f) {
  const int64_t rows_per_tile = RowsPerTile(engine, plan);
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    const int64_t rows = plan.q_used[b] * plan.dims.group();
    for (int64_t head = 0; head < plan.dims.kv_heads && rows > 0; ++head) {
      for (int64_t begin = 0; begin < rows; begin += rows_per_tile) {
        absl::Status status = f(Tile{b, head, begin, std::min(begin + rows_per_tile, rows)});
        if (!status.ok()) return status;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RunTiles(const AttentionPlan& plan, const AttentionData& data, EngineKind engine) {
  TileEngine& tiles = EngineForThisThread(engine);
  return ForEachTile(plan, engine, [&](const Tile& tile) { return tiles.Run(plan, data, tile).status(); });
}

void WriteVisible(const AttentionPlan& plan, const AttentionData& data, const PairOutputPlan& pairs, EngineKind engine,
                  float* visible) {
  TileVisibility visibility;
  const auto write = [&](const Tile& tile) {
    visibility.Begin(plan, data, tile);
    const int64_t kv_len = plan.keys.count[tile.batch];
    if (kv_len == 0) return absl::OkStatus();
    const BlockVisibility block = visibility.Block(0, kv_len);
    for (int64_t r = 0; r < tile.row_end - tile.row_begin; ++r) {
      const RowPlace place = PlaceOf(plan.dims, tile, r);
      float* row = visible + plan.PairsAt(pairs, tile.batch, place.head, place.query);
      for (int64_t k = 0; k < kv_len; ++k) row[k] = block.Sees(r, k) ? 1.0F : 0.0F;
    }
    return absl::OkStatus();
  };
  ForEachTile(plan, engine, write).IgnoreError();
}

int64_t ElementsOf(const ResultTensor& tensor) { return static_cast<int64_t>(tensor.data.size() / sizeof(float)); }

// A gathered tensor as floats.
void CopyFloats(const std::byte* from, DataType dtype, ResultTensor& to) {
  const int64_t elements = ElementsOf(to);
  if (elements > 0) simd::LoadRow(from, dtype, elements, to.data.floats());
}

}  // namespace

absl::Status PlanExplain(PairOutputPlan pairs, AttentionPlan& plan) {
  if (pairs.elements > kMaxExplainedWeights) {
    return InvalidField("outputs.explain", absl::StrCat("would have ", pairs.elements,
                                                        " weights (batch * heads * q_len * kv_len); at most ",
                                                        kMaxExplainedWeights, " are allowed"));
  }
  plan.explain = std::move(pairs);
  return absl::OkStatus();
}

int64_t ExplainedStages(bool has_softcap) { return static_cast<int64_t>(StagesOf(has_softcap).size()); }

absl::StatusOr<std::vector<NamedResult>> AllocateExplained(const AttentionRequest& request, const AttentionPlan& plan,
                                                           BufferPool* pool) {
  std::vector<std::pair<const char*, const std::vector<int64_t>*>> shapes = {
      {"query", &request.query.shape}, {"key", &request.key.shape}, {"value", &request.value.shape}};
  for (const NamedStage& stage : StagesOf(plan.softcap > 0)) shapes.emplace_back(stage.name, &plan.explain->shape);
  shapes.emplace_back("visible", &plan.explain->shape);
  shapes.emplace_back("weights", &plan.explain->shape);
  shapes.emplace_back("output", &plan.output_shape);
  std::vector<NamedResult> explained;
  for (const auto& [name, shape] : shapes) {
    auto block = pool->Allocate(static_cast<size_t>(TensorBytes(DataType::kFloat32, *shape).value_or(0)));
    if (!block.ok()) return block.status();
    explained.push_back({name, {DataType::kFloat32, *shape, *std::move(block)}});
  }
  return explained;
}

absl::Status Explain(const AttentionPlan& plan, const AttentionData& data, EngineKind engine,
                     std::vector<NamedResult>& explained) {
  CopyFloats(data.query, plan.gathered_query_dtype(), explained[0].tensor);
  CopyFloats(data.key, plan.gathered_key_dtype(), explained[1].tensor);
  CopyFloats(data.value, plan.key_dtype, explained[2].tensor);
  // Rows that no tile has are 0.
  for (size_t i = 3; i < explained.size(); ++i) {
    Buffer& buffer = explained[i].tensor.data;
    if (buffer.size() > 0) std::memset(buffer.data(), 0, buffer.size());
  }
  AttentionPlan asked = Bare(plan);
  AttentionData results = InputsOf(data);
  ResultTensor& output = explained.back().tensor;
  ResultTensor& weights = explained[explained.size() - 2].tensor;
  ResultTensor& visible = explained[explained.size() - 3].tensor;
  results.output = output.data.data();
  WriteVisible(asked, results, *plan.explain, engine, visible.data.floats());

  asked.scores = *plan.explain;
  asked.weights = *plan.explain;
  results.weights = weights.data.data();
  size_t at = 3;
  for (const NamedStage& stage : StagesOf(plan.softcap > 0)) {
    asked.score_stage = stage.stage;
    results.scores = explained[at++].tensor.data.data();
    if (absl::Status status = RunTiles(asked, results, engine); !status.ok()) return status;
    // The others have but other scores.
    asked.weights.reset();
    results.weights = nullptr;
  }
  return absl::OkStatus();
}

}  // namespace attnd
