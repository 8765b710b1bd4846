#include "core/attention/simd_weights.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_weights.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE size_t Lanes() { return hn::Lanes(D()); }

// f(elements, index of the first) for vectors of the row; elements behind its end are 0.
template <typename F>
HWY_INLINE void ForVectors(const float* row, size_t n, F f) {
  const D d;
  size_t k = 0;
  for (; k + Lanes() <= n; k += Lanes()) f(hn::LoadU(d, row + k), k);
  if (k == n) return;
  float rest[HWY_MAX_BYTES / sizeof(float)] = {};
  for (size_t i = 0; k + i < n; ++i) rest[i] = row[k + i];
  f(hn::LoadU(d, rest), k);
}

void SumWeightsOf(const float* HWY_RESTRICT p, int64_t count, float factor, int64_t distance,
                  float* HWY_RESTRICT columns, WeightSums* sums) {
  const D d;
  const auto n = static_cast<size_t>(count);
  const V scale = hn::Set(d, factor);
  const V from = hn::Sub(hn::Set(d, static_cast<float>(distance)), hn::Iota(d, 0.0F));
  V total = hn::Zero(d);
  V moment = total;
  V largest = total;
  const auto add = [&](V x, size_t k) {
    const V w = hn::Mul(x, scale);
    total = hn::Add(total, w);
    moment = hn::MulAdd(w, hn::Abs(hn::Sub(from, hn::Set(d, static_cast<float>(k)))), moment);
    largest = hn::Max(largest, w);
    return w;
  };
  const size_t whole = n / Lanes() * Lanes();
  for (size_t k = 0; k < whole; k += Lanes()) {
    const V w = add(hn::LoadU(d, p + k), k);
    hn::StoreU(hn::Add(hn::LoadU(d, columns + k), w), d, columns + k);
  }
  ForVectors(p + whole, n - whole, [&](V x, size_t /*k*/) {
    float w[HWY_MAX_BYTES / sizeof(float)];
    hn::StoreU(add(x, whole), d, w);
    for (size_t i = 0; whole + i < n; ++i) columns[whole + i] += w[i];
  });
  *sums = {hn::GetLane(hn::SumOfLanes(d, total)), hn::GetLane(hn::SumOfLanes(d, moment)),
           hn::GetLane(hn::MaxOfLanes(d, largest))};
}

float EntropyOfRow(const float* weights, int64_t count) {
  const D d;
  V sum = hn::Zero(d);
  ForVectors(weights, static_cast<size_t>(count), [&](V w, size_t /*k*/) {
    const V log = hn::Log(d, hn::Max(w, hn::Set(d, 0x1p-126F)));
    sum = hn::NegMulAdd(w, log, sum);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

int64_t FirstAboveIn(const float* row, int64_t begin, int64_t n, float bound) {
  const D d;
  const V limit = hn::Set(d, bound);
  const auto lanes = static_cast<int64_t>(Lanes());
  int64_t k = begin;
  for (; k + lanes <= n; k += lanes) {
    const intptr_t found = hn::FindFirstTrue(d, hn::Gt(hn::LoadU(d, row + k), limit));
    if (found >= 0) return k + found;
  }
  while (k < n && !(row[k] > bound)) ++k;
  return k;
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(SumWeightsOf);
HWY_EXPORT(EntropyOfRow);
HWY_EXPORT(FirstAboveIn);

WeightSums SumWeights(const float* p, int64_t n, float factor, int64_t distance, float* columns) {
  WeightSums sums = {};
  HWY_DYNAMIC_DISPATCH(SumWeightsOf)(p, n, factor, distance, columns, &sums);
  return sums;
}
float EntropyOf(const float* weights, int64_t n) { return HWY_DYNAMIC_DISPATCH(EntropyOfRow)(weights, n); }
int64_t FirstAbove(const float* row, int64_t begin, int64_t n, float bound) {
  return HWY_DYNAMIC_DISPATCH(FirstAboveIn)(row, begin, n, bound);
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
