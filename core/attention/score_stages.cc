#include "core/attention/score_stages.h"

#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"

namespace attnd {

bool HasScoreStages(const AttentionPlan& plan) { return plan.softcap > 0 || !plan.biases.empty() || plan.has_alibi; }

void ScoreStages::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  plan_ = &plan;
  data_ = &data;
  tile_ = tile;
}

void ScoreStages::Apply(ScoreStage stage, int64_t r, int64_t begin, int64_t end, float* scores) {
  const int64_t keys = end - begin;
  if (stage == ScoreStage::kUnscaled) return;
  simd::ScaleRow(scores, keys, plan_->scale, scores);
  if (stage == ScoreStage::kScaled) return;
  if (plan_->softcap > 0) simd::CapRow(scores, keys, plan_->softcap);
  if (stage == ScoreStage::kCapped) return;
  const RowPlace place = PlaceOf(plan_->dims, tile_, r);
  AddBiases(place.head, place.query, begin, end, scores);
  if (plan_->has_alibi) {
    const int64_t distance = place.query + plan_->visibility.shift[tile_.batch] - begin;
    simd::AddAlibiRow(data_->alibi_slopes[place.head], distance, keys, scores);
  }
}

void ScoreStages::AddBiases(int64_t head, int64_t query, int64_t begin, int64_t end, float* scores) {
  const int64_t keys = end - begin;
  for (size_t i = 0; i < plan_->biases.size(); ++i) {
    const BroadcastPlan& bias = plan_->biases[i];
    const std::byte* row = data_->biases[i] + tile_.batch * bias.batch + head * bias.head + query * bias.query;
    if (bias.per_key) row += begin * ElementBytes(bias.dtype);
    if (bias.per_key && bias.dtype == DataType::kFloat32) {
      simd::AddRow(reinterpret_cast<const float*>(row), keys, scores);
      continue;
    }
    if (!bias.per_key) {
      float one = 0;
      simd::LoadRow(row, bias.dtype, 1, &one);
      simd::ShiftRow(one, keys, scores);
      continue;
    }
    bias_.resize(static_cast<size_t>(keys));
    simd::LoadRow(row, bias.dtype, keys, bias_.data());
    simd::AddRow(bias_.data(), keys, scores);
  }
}

}  // namespace attnd
