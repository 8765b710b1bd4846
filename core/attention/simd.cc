#include "core/attention/simd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_floats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

HWY_INLINE size_t Lanes() { return hn::Lanes(D()); }

float ExpNonPositive1(float x) { return hn::GetLane(ExpNonPositive(D(), hn::Set(D(), x))); }

void ScaleRow(const float* source, int64_t count, float factor, float* destination) {
  const D d;
  const auto n = static_cast<size_t>(count);
  const V f = hn::Set(d, factor);
  size_t i = 0;
  for (; i + Lanes() <= n; i += Lanes()) hn::StoreU(hn::Mul(hn::LoadU(d, source + i), f), d, destination + i);
  for (; i < n; ++i) destination[i] = factor * source[i];
}

// row[k] = scale * row[k] where k is in `seen`, -inf elsewhere; returns the largest, -inf if
// all are NaN: NaN is found later, in the sum. The scale comes after the product, as in the
// formula, so that its range is that of the scores.
HWY_INLINE float ScaleAndMax(float* HWY_RESTRICT row, size_t keys, KeyRange seen, float scale) {
  const D d;
  const DI di;
  const V factor = hn::Set(d, scale);
  const V hidden = hn::Set(d, kNegInf);
  const auto begin = hn::Set(di, static_cast<int32_t>(seen.begin));
  const auto end = hn::Set(di, static_cast<int32_t>(seen.end));
  const auto whole_begin = static_cast<size_t>(seen.begin);
  const auto whole_end = static_cast<size_t>(seen.end);
  V max = hidden;
  for (size_t k = 0; k < keys; k += Lanes()) {
    V v = hn::Mul(hn::Load(d, row + k), factor);
    if (k < whole_begin || k + Lanes() > whole_end) {
      const auto index = hn::Iota(di, static_cast<int32_t>(k));
      const auto out = hn::Or(hn::Lt(index, begin), hn::Not(hn::Lt(index, end)));
      v = hn::IfThenElse(hn::RebindMask(d, out), hidden, v);
    }
    hn::Store(v, d, row + k);
    // Max returns its second operand when one is NaN.
    max = hn::Max(v, max);
  }
  return hn::GetLane(hn::MaxOfLanes(d, max));
}

// The lanes of `bits` that belong to keys [k, k + Lanes()).
HWY_INLINE hn::Mask<D> MaskAt(const uint8_t* bits, size_t k) {
  const D d;
  if (Lanes() >= 8) return hn::LoadMaskBits(d, bits + k / 8);
  uint8_t shifted[8] = {static_cast<uint8_t>(bits[k / 8] >> (k % 8))};
  return hn::LoadMaskBits(d, shifted);
}

// The same, hiding where a bit is 0.
HWY_INLINE float ScaleAndMaxByBits(float* HWY_RESTRICT row, size_t keys, const uint8_t* bits, float scale) {
  const D d;
  const V factor = hn::Set(d, scale);
  const V hidden = hn::Set(d, kNegInf);
  V max = hidden;
  for (size_t k = 0; k < keys; k += Lanes()) {
    const V v = hn::IfThenElse(MaskAt(bits, k), hn::Mul(hn::Load(d, row + k), factor), hidden);
    hn::Store(v, d, row + k);
    max = hn::Max(v, max);
  }
  return hn::GetLane(hn::MaxOfLanes(d, max));
}

// row[k] = exp(row[k] - max); returns their sum.
HWY_INLINE float ExpRow(float* HWY_RESTRICT row, size_t keys, float max) {
  const D d;
  const V m = hn::Set(d, max);
  V s0 = hn::Zero(d);
  V s1 = s0;
  size_t k = 0;
  for (; k + 2 * Lanes() <= keys; k += 2 * Lanes()) {
    const V p0 = ExpNonPositive(d, hn::Sub(hn::Load(d, row + k), m));
    const V p1 = ExpNonPositive(d, hn::Sub(hn::Load(d, row + k + Lanes()), m));
    hn::Store(p0, d, row + k);
    hn::Store(p1, d, row + k + Lanes());
    s0 = hn::Add(s0, p0);
    s1 = hn::Add(s1, p1);
  }
  for (; k < keys; k += Lanes()) {
    const V p = ExpNonPositive(d, hn::Sub(hn::Load(d, row + k), m));
    hn::Store(p, d, row + k);
    s0 = hn::Add(s0, p);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

HWY_INLINE KeyRange SeenBy(const ScoreBlock& block, int64_t row) {
  return block.visible == nullptr ? KeyRange{0, block.keys} : block.visible[row];
}

void SoftmaxBlock(const ScoreBlock& block, const RowState& state) {
  const auto keys = (block.keys + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  for (int64_t r = 0; r < block.rows; ++r) {
    float* row = block.scores + r * block.stride;
    const auto whole = static_cast<size_t>(keys);
    const float block_max = block.bits != nullptr
                                ? ScaleAndMaxByBits(row, whole, block.bits + r * block.bits_stride, block.scale)
                                : ScaleAndMax(row, whole, SeenBy(block, r), block.scale);
    const float old_max = state.max[r];
    const float new_max = std::max(old_max, block_max);
    // Without a finite maximum every score is -inf or NaN: 0 keeps -inf - m defined.
    const float m = new_max == kNegInf ? 0.0F : new_max;
    if (old_max != new_max) {
      const float alpha = ExpNonPositive1(old_max - m);
      state.sum[r] *= alpha;
      float* acc = state.acc + r * state.acc_stride;
      ScaleRow(acc, state.acc_stride, alpha, acc);
      state.max[r] = new_max;
    }
    state.sum[r] += ExpRow(row, static_cast<size_t>(keys), m);
  }
}

void AccumulateVisible(const ScoreBlock& block, const float* value, int64_t value_stride, int64_t value_dim,
                       const RowState& state) {
  for (int64_t r = 0; r < block.rows; ++r) {
    const float* p = block.scores + r * block.stride;
    float* acc = state.acc + r * state.acc_stride;
    const KeyRange seen = SeenBy(block, r);
    const uint8_t* bits = block.bits == nullptr ? nullptr : block.bits + r * block.bits_stride;
    for (int64_t k = seen.begin; k < seen.end; ++k) {
      if (bits != nullptr && (bits[k / 8] >> (k % 8) & 1) == 0) continue;
      const float* v = value + k * value_stride;
      for (int64_t c = 0; c < value_dim; ++c) acc[c] += p[k] * v[c];
    }
  }
}

void WeightsRow(const float* scores, int64_t count, float max, float sum, float* destination) {
  const D d;
  const auto keys = static_cast<size_t>(count);
  const V m = hn::Set(d, max == kNegInf ? 0.0F : max);
  const V l = hn::Set(d, sum);
  size_t k = 0;
  for (; k + Lanes() <= keys; k += Lanes()) {
    hn::StoreU(hn::Div(ExpNonPositive(d, hn::Sub(hn::Load(d, scores + k), m)), l), d, destination + k);
  }
  if (k < keys) {
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(hn::Div(ExpNonPositive(d, hn::Sub(hn::Load(d, scores + k), m)), l), d, tail);
    std::copy(tail, tail + (keys - k), destination + k);
  }
}

bool AllFinite(const float* values, int64_t count) {
  const D d;
  const DI di;
  const auto n = static_cast<size_t>(count);
  const auto exponent = hn::Set(di, 0x7F800000);
  size_t i = 0;
  auto bad = hn::FirstN(di, 0);
  for (; i + Lanes() <= n; i += Lanes()) {
    const auto bits = hn::BitCast(di, hn::LoadU(d, values + i));
    bad = hn::Or(bad, hn::Eq(hn::And(bits, exponent), exponent));
  }
  bool finite = hn::AllFalse(di, bad);
  for (; i < n; ++i) finite = finite && std::isfinite(values[i]);
  return finite;
}

bool DivideRow(const float* source, int64_t count, float divisor, float* destination) {
  const D d;
  const DI di;
  const auto n = static_cast<size_t>(count);
  const V l = hn::Set(d, divisor);
  const V reciprocal = hn::Set(d, 1.0F / divisor);
  const auto exponent = hn::Set(di, 0x7F800000);
  const bool ordinary = divisor > 0x1p-100F && divisor < 0x1p100F;
  auto bad = hn::FirstN(di, 0);
  size_t i = 0;
  for (; i + Lanes() <= n; i += Lanes()) {
    const V x = hn::LoadU(d, source + i);
    const V q = ordinary ? Quotient(x, l, reciprocal) : hn::Div(x, l);
    bad = hn::Or(bad, hn::Eq(hn::And(hn::BitCast(di, q), exponent), exponent));
    hn::StoreU(q, d, destination + i);
  }
  bool finite = hn::AllFalse(di, bad);
  for (; i < n; ++i) {
    const V q = ordinary ? Quotient(hn::Set(d, source[i]), l, reciprocal) : hn::Set(d, source[i] / divisor);
    destination[i] = hn::GetLane(q);
    finite = finite && std::isfinite(destination[i]);
  }
  return finite;
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(ScaleRow);
HWY_EXPORT(SoftmaxBlock);
HWY_EXPORT(AccumulateVisible);
HWY_EXPORT(WeightsRow);
HWY_EXPORT(DivideRow);
HWY_EXPORT(AllFinite);
HWY_EXPORT(TargetName);

void ScaleRow(const float* source, int64_t n, float factor, float* destination) {
  HWY_DYNAMIC_DISPATCH(ScaleRow)(source, n, factor, destination);
}
void SoftmaxBlock(const ScoreBlock& block, const RowState& state) { HWY_DYNAMIC_DISPATCH(SoftmaxBlock)(block, state); }
void AccumulateVisible(const ScoreBlock& block, const float* value, int64_t value_stride, int64_t value_dim,
                       const RowState& state) {
  HWY_DYNAMIC_DISPATCH(AccumulateVisible)(block, value, value_stride, value_dim, state);
}
void WeightsRow(const float* scores, int64_t keys, float max, float sum, float* destination) {
  HWY_DYNAMIC_DISPATCH(WeightsRow)(scores, keys, max, sum, destination);
}
bool DivideRow(const float* source, int64_t n, float divisor, float* destination) {
  return HWY_DYNAMIC_DISPATCH(DivideRow)(source, n, divisor, destination);
}
bool AllFinite(const float* values, int64_t n) { return HWY_DYNAMIC_DISPATCH(AllFinite)(values, n); }
const char* TargetName() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace attnd::simd
#endif  // HWY_ONCE
