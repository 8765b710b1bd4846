#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/attention/plan_options.h"
#include "core/errors.h"

namespace attnd {
namespace {

// The listed rows by query, each with its place among those of its entry.
absl::StatusOr<std::vector<ListedRow>> ListRows(const std::vector<int64_t>& rows, const AttentionPlan& plan,
                                                std::vector<int64_t>& per_sequence) {
  const bool packed = plan.layout == Layout::kPacked;
  const int64_t count = packed ? plan.total_queries : plan.dims.q_len;
  std::vector<ListedRow> listed;
  listed.reserve(rows.size());
  per_sequence.assign(packed ? static_cast<size_t>(plan.dims.batch) : 1, 0);
  for (const int64_t row : rows) {
    if (row < 0 || row >= count) {
      return InvalidField("outputs.weights.rows",
                          count == 0 ? absl::StrCat("has ", row, ", but there are no queries")
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
    return InvalidField("outputs.weights.rows", absl::StrCat("has ", twice->query, " twice"));
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

}  // namespace

absl::Status PlanOutputs(const AttentionOutputs& outputs, AttentionPlan& plan) {
  plan.output_dtype = outputs.dtype.value_or(plan.query_dtype);
  if (!IsFloat(plan.output_dtype)) {
    return InvalidField("outputs.dtype", absl::StrCat("is ", DataTypeName(plan.output_dtype),
                                                      "; FLOAT32, FLOAT16 or BFLOAT16 is allowed"));
  }
  for (const auto& [field, asked] :
       {std::pair{"outputs.top_k", outputs.top_k.has_value()},
        std::pair{"outputs.diagnostics", outputs.diagnostics.has_value()},
        std::pair{"outputs.heatmap", outputs.heatmap.has_value()}, std::pair{"outputs.explain", outputs.explain}}) {
    if (asked) return UnservedField(field, "is part of the contract but not served by this version");
  }
  plan.pairs_dtype = plan.output_dtype;
  plan.wants_lse = outputs.lse;
  if (outputs.weights.has_value()) {
    plan.mean_weights = outputs.weights->mean;
    PerEntry rows = plan.queries.count;
    if (!outputs.weights->rows.empty()) {
      std::vector<int64_t> per_sequence;
      auto listed = ListRows(outputs.weights->rows, plan, per_sequence);
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
  return absl::OkStatus();
}

}  // namespace attnd
