#include "core/attention/weight_summaries.h"

#include "core/attention/simd_weights.h"

namespace attnd {

bool WeightSummaries::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, const float* sums,
                            bool statistics) {
  if (data.summaries == nullptr) return false;
  has_statistics_ = statistics && plan.diagnostics.has_value();
  has_heatmap_ = plan.heatmap.has_value();
  has_top_k_ = plan.top_k.has_value() && top_k_.Begin(plan, data, tile, sums);
  if (has_statistics_) {
    statistics_.Begin(plan, data, tile);
    statistics_.PassOverNan(sums);
  }
  if (has_heatmap_) heat_.Begin(plan, data, tile, sums);
  return has_statistics_ || has_heatmap_ || has_top_k_;
}

void WeightSummaries::AddWeights(int64_t r, const BlockVisibility& visible, int64_t begin, int64_t end,
                                 const float* weights) {
  if (has_top_k_) top_k_.AddWeights(r, visible, begin, end, weights);
  if (has_heatmap_) heat_.AddWeights(r, visible, begin, end, weights);
  if (!has_statistics_) return;
  statistics_.AddVisible(r, visible, r, begin, end);
  statistics_.AddWeights(r, begin, end, weights);
  statistics_.AddEntropy(r, static_cast<double>(simd::EntropyOf(weights, end - begin)));
}

void WeightSummaries::EndBlock(int64_t begin, int64_t end) {
  if (has_heatmap_) heat_.Flush();
  if (has_statistics_) statistics_.FlushColumns(begin, end);
}

void WeightSummaries::End() {
  if (has_top_k_) top_k_.End();
  if (has_statistics_) statistics_.End();
}

}  // namespace attnd
