#include <algorithm>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/attention/explain.h"
#include "core/attention/plan_options.h"
#include "core/errors.h"

namespace attnd {
namespace {

// The listed rows by query, each with its place among those of its entry.
absl::StatusOr<std::vector<ListedRow>> ListRows(std::string_view field, const std::vector<int64_t>& rows,
                                                const AttentionPlan& plan, std::vector<int64_t>& per_sequence) {
  const bool packed = plan.layout == Layout::kPacked;
  const int64_t count = packed ? plan.total_queries : plan.dims.q_len;
  std::vector<ListedRow> listed;
  listed.reserve(rows.size());
  per_sequence.assign(packed ? static_cast<size_t>(plan.dims.batch) : 1, 0);
  for (const int64_t row : rows) {
    if (row < 0 || row >= count) {
      return InvalidField(field, count == 0
                                     ? absl::StrCat("has ", row, ", but there are no queries")
                                     : absl::StrCat("has ", row, "; queries 0 to ", count - 1,
                                                    packed ? ", counted through the packed query," : "", " are there"));
    }
    size_t sequence = 0;
    if (packed) {
      const auto& starts = plan.queries.starts;
      sequence = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), row) - starts.begin() - 1);
    }
    listed.push_back({row, per_sequence[sequence]++});
  }
  std::sort(listed.begin(), listed.end(), [](const ListedRow& a, const ListedRow& b) { return a.query < b.query; });
  const auto twice = std::adjacent_find(listed.begin(), listed.end(),
                                        [](const ListedRow& a, const ListedRow& b) { return a.query == b.query; });
  if (twice != listed.end()) {
    return InvalidField(field, absl::StrCat("has ", twice->query, " twice"));
  }
  return listed;
}

// Sizes of a result with kv_len elements for each of `rows` rows of `heads` heads.
absl::StatusOr<PairOutputPlan> PlanPairOutput(std::string_view field, int64_t heads, PerEntry rows,
                                              const AttentionPlan& plan) {
  PairOutputPlan planned;
  planned.heads = heads;
  planned.rows = std::move(rows);
  const auto too_large = [&] { return InvalidField(field, "would have more elements than 2^63 - 1"); };
  if (plan.layout != Layout::kPacked) {
    planned.shape = {plan.dims.batch, heads, planned.rows[0], plan.dims.kv_len};
    const auto elements = Product(planned.shape);
    if (!elements.has_value()) return too_large();
    planned.elements = *elements;
    return planned;
  }
  planned.starts.reserve(static_cast<size_t>(plan.dims.batch) + 1);
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    planned.starts.push_back(planned.elements);
    const int64_t extents[] = {heads, planned.rows[b], plan.keys.count[b]};
    const auto block = Product(extents);
    if (!block.has_value() || __builtin_add_overflow(planned.elements, *block, &planned.elements)) return too_large();
  }
  planned.starts.push_back(planned.elements);
  planned.shape = {planned.elements};
  return planned;
}

struct Range {
  int64_t least;
  int64_t most;
};

absl::Status CheckRange(std::string_view field, Range allowed, int64_t value) {
  if (value >= allowed.least && value <= allowed.most) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", value, "; ", allowed.least, " to ", allowed.most, " is allowed"));
}

absl::Status PlanTopK(const TopKOutput& asked, AttentionPlan& plan) {
  const int64_t kv_len = plan.dims.kv_len;
  if (kv_len == 0 && asked.k != 1) {
    return InvalidField("outputs.top_k.k", absl::StrCat("is ", asked.k, "; 1 is allowed, since there are no keys"));
  }
  if (asked.k < 1 || asked.k > std::max<int64_t>(1, kv_len)) {
    return InvalidField(
        "outputs.top_k.k",
        absl::StrCat("is ", asked.k, "; 1 to kv_len = ", kv_len,
                     plan.layout == Layout::kPacked ? " (of the longest sequence)" : "", " is allowed"));
  }
  TopKPlan& top_k = plan.top_k.emplace();
  const bool packed = plan.layout == Layout::kPacked;
  top_k.k = asked.k;
  top_k.rows = packed ? plan.total_queries : plan.dims.q_len;
  if (!asked.rows.empty()) {
    std::vector<int64_t> per_sequence;
    auto listed = ListRows("outputs.top_k.rows", asked.rows, plan, per_sequence);
    if (!listed.ok()) return listed.status();
    top_k.listed = *std::move(listed);
    top_k.rows = static_cast<int64_t>(asked.rows.size());
    // Places in the order of the list, over all sequences.
    for (size_t i = 0; i < asked.rows.size(); ++i) {
      const auto row = std::lower_bound(top_k.listed.begin(), top_k.listed.end(), asked.rows[i],
                                        [](const ListedRow& a, int64_t query) { return a.query < query; });
      row->slot = static_cast<int64_t>(i);
    }
  }
  top_k.shape = {plan.dims.heads, top_k.rows, top_k.k};
  if (!packed) top_k.shape.insert(top_k.shape.begin(), plan.dims.batch);
  return absl::OkStatus();
}

absl::Status PlanDiagnostics(const DiagnosticsOutput& asked, AttentionPlan& plan) {
  constexpr int64_t kMost = 1024;
  DiagnosticsPlan& diagnostics = plan.diagnostics.emplace();
  diagnostics.rows = asked.rows;
  diagnostics.first_keys = asked.first_keys.value_or(4);
  diagnostics.window = asked.window.value_or(4);
  diagnostics.columns = asked.columns.value_or(4);
  for (const auto& [field, least, value] : {std::tuple{"outputs.diagnostics.first_keys", 1, diagnostics.first_keys},
                                            std::tuple{"outputs.diagnostics.window", 0, diagnostics.window},
                                            std::tuple{"outputs.diagnostics.columns", 0, diagnostics.columns}}) {
    if (absl::Status s = CheckRange(field, {least, kMost}, value); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status PlanHeatmap(const HeatmapOutput& asked, AttentionPlan& plan) {
  constexpr int64_t kMost = 512;
  const int64_t most = asked.cells.value_or(kMost);
  if (absl::Status s = CheckRange("outputs.heatmap.cells", {1, kMost}, most); !s.ok()) return s;
  HeatmapPlan& heatmap = plan.heatmap.emplace();
  const auto cells = [most](int64_t n) { return std::min(n, most); };
  heatmap.down = PerEntry::Map(cells, plan.queries.count);
  heatmap.across = PerEntry::Map(cells, plan.keys.count);
  const auto too_large = [] { return InvalidField("outputs.heatmap", "would have more cells than 2^63 - 1"); };
  if (plan.layout != Layout::kPacked) {
    heatmap.shape = {plan.dims.batch, plan.dims.heads, heatmap.down[0], heatmap.across[0]};
    const auto all = Product(heatmap.shape);
    if (!all.has_value()) return too_large();
    heatmap.cells = *all;
    return absl::OkStatus();
  }
  heatmap.starts.reserve(static_cast<size_t>(plan.dims.batch));
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    heatmap.starts.push_back(heatmap.cells);
    const int64_t extents[] = {plan.dims.heads, heatmap.down[b], heatmap.across[b]};
    const auto block = Product(extents);
    if (!block.has_value() || __builtin_add_overflow(heatmap.cells, *block, &heatmap.cells)) return too_large();
  }
  heatmap.shape = {heatmap.cells};
  return absl::OkStatus();
}

}  // namespace

absl::Status PlanOutputs(const AttentionOutputs& outputs, AttentionPlan& plan) {
  plan.output_dtype = outputs.dtype.value_or(plan.query_dtype);
  if (!IsFloat(plan.output_dtype)) {
    return InvalidField("outputs.dtype", absl::StrCat("is ", DataTypeName(plan.output_dtype),
                                                      "; FLOAT32, FLOAT16 or BFLOAT16 is allowed"));
  }
  plan.pairs_dtype = plan.output_dtype;
  plan.wants_lse = outputs.lse;
  if (outputs.weights.has_value()) {
    plan.mean_weights = outputs.weights->mean;
    PerEntry rows = plan.queries.count;
    if (!outputs.weights->rows.empty()) {
      std::vector<int64_t> per_sequence;
      auto listed = ListRows("outputs.weights.rows", outputs.weights->rows, plan, per_sequence);
      if (!listed.ok()) return listed.status();
      plan.listed_rows = *std::move(listed);
      rows = plan.layout == Layout::kPacked ? PerEntry(std::move(per_sequence)) : PerEntry(per_sequence[0]);
    }
    auto weights = PlanPairOutput("outputs.weights", plan.mean_weights ? 1 : plan.dims.heads, std::move(rows), plan);
    if (!weights.ok()) return weights.status();
    plan.weights = *std::move(weights);
  }
  if (outputs.scores.has_value()) {
    if (*outputs.scores == ScoreStage::kUnset) {
      return InvalidField("outputs.scores.stage", "is not set; say UNSCALED, SCALED, CAPPED or BIASED");
    }
    auto scores = PlanPairOutput("outputs.scores", plan.dims.heads, plan.queries.count, plan);
    if (!scores.ok()) return scores.status();
    plan.scores = *std::move(scores);
    plan.score_stage = *outputs.scores;
  }
  if (outputs.explain) {
    auto explained = PlanPairOutput("outputs.explain", plan.dims.heads, plan.queries.count, plan);
    if (!explained.ok()) return explained.status();
    if (absl::Status s = PlanExplain(*std::move(explained), plan); !s.ok()) return s;
  }
  if (outputs.top_k.has_value()) {
    if (absl::Status s = PlanTopK(*outputs.top_k, plan); !s.ok()) return s;
  }
  if (outputs.diagnostics.has_value()) {
    if (absl::Status s = PlanDiagnostics(*outputs.diagnostics, plan); !s.ok()) return s;
  }
  return outputs.heatmap.has_value() ? PlanHeatmap(*outputs.heatmap, plan) : absl::OkStatus();
}

}  // namespace attnd
