#include "core/attention/split.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();
// Of each row's maximum and sum: a line, so that acc stays aligned.
constexpr int64_t kNumbers = simd::kRowMultiple;
static_assert(2 * kSplitRows <= kNumbers);

int64_t AccStride(const Dims& dims) {
  return (dims.value_dim + simd::kRowMultiple - 1) / simd::kRowMultiple * simd::kRowMultiple;
}

int64_t StateFloats(int64_t acc_stride) { return kSplitRows * acc_stride + kNumbers; }

bool MayBeCut(const AttentionPlan& plan, int64_t batch) {
  const int64_t rows = plan.q_used[batch] * plan.dims.group();
  return rows > 0 && rows <= kSplitRows && plan.keys.count[batch] > kKeysPerPart;
}

// What a state with maximum `max` is multiplied by when the maximum becomes `new_max`.
float Factor(float max, float new_max) { return max == new_max ? 1.0F : std::exp(max - new_max); }

}  // namespace

KeyParts PartsOf(const AttentionPlan& plan, int64_t batch) {
  if (!MayBeCut(plan, batch)) return {};
  KeyRange any;
  for (int64_t q = 0; q < plan.q_used[batch]; ++q) {
    const KeyRange keys = plan.visibility.Keys(batch, q);
    if (keys.empty()) continue;
    any = any.empty() ? keys : KeyRange{std::min(any.begin, keys.begin), std::max(any.end, keys.end)};
  }
  if (any.empty()) return {};
  const int64_t first = any.begin / kKeysPerPart;
  return {first, (any.end - 1) / kKeysPerPart - first + 1};
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
  int64_t states = 0;
  for (int64_t b = 0; b < (uniform ? std::min<int64_t>(plan.dims.batch, 1) : plan.dims.batch); ++b) {
    if (MayBeCut(plan, b)) states += (plan.keys.count[b] + kKeysPerPart - 1) / kKeysPerPart * plan.dims.kv_heads;
  }
  if (uniform) states *= plan.dims.batch;
  return states * StateFloats(AccStride(plan.dims)) * static_cast<int64_t>(sizeof(float));
}

absl::Status PartialStates::Begin(const AttentionPlan& plan, BufferPool* pool) {
  kv_heads_ = plan.dims.kv_heads;
  acc_stride_ = AccStride(plan.dims);
  int64_t states = 0;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    const KeyParts parts = PartsOf(plan, b);
    if (parts.count == 1) continue;
    entries_.push_back({b, parts, states});
    states += parts.count * kv_heads_;
  }
  if (entries_.empty()) return absl::OkStatus();
  auto memory = pool->Allocate(static_cast<size_t>(states * StateFloats(acc_stride_)) * sizeof(float));
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
  float* acc = memory_.floats() + (entry.first_state + kv_head * entry.parts.count + part) * StateFloats(acc_stride_);
  float* numbers = acc + kSplitRows * acc_stride_;
  return {numbers, numbers + kSplitRows, acc, acc_stride_};
}

bool PartialStates::Done(int64_t batch, int64_t kv_head) {
  const auto index = static_cast<size_t>((Find(batch) - entries_.data()) * kv_heads_ + kv_head);
  return left_[index].fetch_sub(1, std::memory_order_acq_rel) == 1;
}

simd::RowState PartialStates::Merge(int64_t batch, int64_t kv_head) const {
  const simd::RowState merged = At(batch, kv_head, 0);
  const int64_t parts = Find(batch)->parts.count;
  for (int64_t part = 1; part < parts; ++part) MergeState(kSplitRows, At(batch, kv_head, part), merged);
  return merged;
}

}  // namespace attnd
