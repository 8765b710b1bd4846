#include "core/attention/split.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

// Whole lines, so that acc stays aligned.
int64_t Lines(int64_t floats) { return (floats + simd::kRowMultiple - 1) / simd::kRowMultiple * simd::kRowMultiple; }

// The accumulated values of the rows, and their maxima and sums.
int64_t StateFloats(int64_t rows, int64_t acc_stride) { return rows * acc_stride + Lines(2 * rows); }

int64_t RowsOf(const AttentionPlan& plan, int64_t batch) { return plan.q_used[batch] * plan.dims.group(); }

bool MayBeCut(const AttentionPlan& plan, int64_t batch) {
  const int64_t rows = RowsOf(plan, batch);
  return rows > 0 && rows <= kSplitRows && plan.keys.count[batch] > KeysPerPart(plan.dims);
}

// What a state with maximum `max` is multiplied by when the maximum becomes `new_max`.
float Factor(float max, float new_max) { return max == new_max ? 1.0F : std::exp(max - new_max); }

}  // namespace

int64_t KeysPerPart(const Dims& dims) {
  constexpr int64_t kMultiple = 512;
  constexpr int64_t kFloats = kKeysPerPart * 512;
  const int64_t keys = kFloats / (dims.head_dim + dims.value_dim) / kMultiple * kMultiple;
  return std::clamp(keys, kMultiple, kKeysPerPart);
}

KeyParts PartsOf(const AttentionPlan& plan, int64_t batch) {
  if (!MayBeCut(plan, batch)) return {};
  KeyRange any;
  for (int64_t q = 0; q < plan.q_used[batch]; ++q) {
    const KeyRange keys = plan.visibility.Keys(batch, q);
    if (keys.empty()) continue;
    any = any.empty() ? keys : KeyRange{std::min(any.begin, keys.begin), std::max(any.end, keys.end)};
  }
  if (any.empty()) return {};
  const int64_t size = KeysPerPart(plan.dims);
  const int64_t first = any.begin / size;
  return {first, (any.end - 1) / size - first + 1, size};
}

void ClearState(int64_t rows, const simd::RowState& state) {
  std::fill_n(state.max, rows, kNegInf);
  std::fill_n(state.sum, rows, 0.0F);
  std::fill_n(state.acc, rows * state.acc_stride, 0.0F);
}

void MergeState(int64_t rows, const simd::RowState& part, const simd::RowState& state) {
  const int64_t n = std::min(part.acc_stride, state.acc_stride);
  for (int64_t r = 0; r < rows; ++r) {
    const float max = std::max(state.max[r], part.max[r]);
    const float before = Factor(state.max[r], max);
    const float added = Factor(part.max[r], max);
    state.max[r] = max;
    state.sum[r] = state.sum[r] * before + part.sum[r] * added;
    float* acc = state.acc + r * state.acc_stride;
    simd::ScaleRow(acc, n, before, acc);
    simd::AddScaledRow(part.acc + r * part.acc_stride, n, added, acc);
  }
}

int64_t PartialBytes(const AttentionPlan& plan) {
  const bool uniform = plan.q_used.uniform() && plan.keys.count.uniform();
  const int64_t size = KeysPerPart(plan.dims);
  int64_t floats = 0;
  for (int64_t b = 0; b < (uniform ? std::min<int64_t>(plan.dims.batch, 1) : plan.dims.batch); ++b) {
    if (!MayBeCut(plan, b)) continue;
    const int64_t states = (plan.keys.count[b] + size - 1) / size * plan.dims.kv_heads;
    floats += states * StateFloats(RowsOf(plan, b), Lines(plan.dims.value_dim));
  }
  if (uniform) floats *= plan.dims.batch;
  return floats * static_cast<int64_t>(sizeof(float));
}

absl::Status PartialStates::Begin(const AttentionPlan& plan, BufferPool* pool) {
  kv_heads_ = plan.dims.kv_heads;
  acc_stride_ = Lines(plan.dims.value_dim);
  int64_t floats = 0;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    const KeyParts parts = PartsOf(plan, b);
    if (parts.count == 1) continue;
    const int64_t rows = RowsOf(plan, b);
    entries_.push_back({b, rows, parts, floats});
    floats += parts.count * kv_heads_ * StateFloats(rows, acc_stride_);
  }
  if (entries_.empty()) return absl::OkStatus();
  auto memory = pool->Allocate(static_cast<size_t>(floats) * sizeof(float));
  if (!memory.ok()) return memory.status();
  memory_ = *std::move(memory);
  left_ = std::vector<std::atomic<int64_t>>(entries_.size() * static_cast<size_t>(kv_heads_));
  for (size_t i = 0; i < left_.size(); ++i) left_[i] = entries_[i / static_cast<size_t>(kv_heads_)].parts.count;
  return absl::OkStatus();
}

const PartialStates::Entry* PartialStates::Find(int64_t batch) const {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), batch,
                                   [](const Entry& entry, int64_t wanted) { return entry.batch < wanted; });
  return it != entries_.end() && it->batch == batch ? &*it : nullptr;
}

KeyParts PartialStates::parts(int64_t batch) const {
  const Entry* entry = Find(batch);
  return entry == nullptr ? KeyParts() : entry->parts;
}

simd::RowState PartialStates::At(int64_t batch, int64_t kv_head, int64_t part) const {
  const Entry& entry = *Find(batch);
  const int64_t state = kv_head * entry.parts.count + part;
  float* acc = memory_.floats() + entry.first_float + state * StateFloats(entry.rows, acc_stride_);
  float* max = acc + entry.rows * acc_stride_;
  return {max, max + entry.rows, acc, acc_stride_};
}

bool PartialStates::Done(int64_t batch, int64_t kv_head) {
  const auto index = static_cast<size_t>((Find(batch) - entries_.data()) * kv_heads_ + kv_head);
  return left_[index].fetch_sub(1, std::memory_order_acq_rel) == 1;
}

simd::RowState PartialStates::Merge(int64_t batch, int64_t kv_head) const {
  const simd::RowState merged = At(batch, kv_head, 0);
  const Entry& entry = *Find(batch);
  for (int64_t part = 1; part < entry.parts.count; ++part) MergeState(entry.rows, At(batch, kv_head, part), merged);
  return merged;
}

}  // namespace attnd
