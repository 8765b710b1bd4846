#include "core/attention/score_stages.h"

#include <algorithm>

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
  for (int64_t i = 0; i < addends(); ++i) {
    addend_.resize(static_cast<size_t>(keys));
    Addend(i, r, begin, end, addend_.data());
    simd::AddRow(addend_.data(), keys, scores);
  }
}

int64_t ScoreStages::addends() const { return static_cast<int64_t>(plan_->biases.size()) + (plan_->has_alibi ? 1 : 0); }

void ScoreStages::Addend(int64_t i, int64_t r, int64_t begin, int64_t end, float* addend) const {
  const RowPlace place = PlaceOf(plan_->dims, tile_, r);
  const auto biases = static_cast<int64_t>(plan_->biases.size());
  if (i < biases) return LoadBias(static_cast<size_t>(i), place, begin, end, addend);
  const int64_t distance = place.query + plan_->visibility.shift[tile_.batch] - begin;
  std::fill(addend, addend + (end - begin), 0.0F);
  simd::AddAlibiRow(data_->alibi_slopes[place.head], distance, end - begin, addend);
}

void ScoreStages::LoadBias(size_t i, const RowPlace& place, int64_t begin, int64_t end, float* row) const {
  const BroadcastPlan& bias = plan_->biases[i];
  const std::byte* from =
      data_->biases[i] + tile_.batch * bias.batch + place.head * bias.head + place.query * bias.query;
  if (bias.per_key) {
    simd::LoadRow(from + begin * ElementBytes(bias.dtype), bias.dtype, end - begin, row);
    return;
  }
  float one = 0;
  simd::LoadRow(from, bias.dtype, 1, &one);
  std::fill(row, row + (end - begin), one);
}

}  // namespace attnd
