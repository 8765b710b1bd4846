#include "core/attention/simd_weights.h"

// Strips are as wide as simd_strip.h makes them: in the same instruction sets.
#include "hwy/detect_compiler_arch.h"
#if HWY_ARCH_ARM_A64
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_weights.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_shapes-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

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

void SumWeightsOf(const float* HWY_RESTRICT row, int64_t count, int64_t distance, float* HWY_RESTRICT columns,
                  WeightSums* sums) {
  const D d;
  const auto n = static_cast<size_t>(count);
  const V from = hn::Sub(hn::Set(d, static_cast<float>(distance)), hn::Iota(d, 0.0F));
  V total = hn::Zero(d);
  V moment = total;
  V largest = total;
  const auto add = [&](V w, size_t k) {
    total = hn::Add(total, w);
    moment = hn::MulAdd(w, hn::Abs(hn::Sub(from, hn::Set(d, static_cast<float>(k)))), moment);
    largest = hn::Max(largest, w);
  };
  const size_t whole = n / Lanes() * Lanes();
  for (size_t k = 0; k < whole; k += Lanes()) {
    const V w = hn::LoadU(d, row + k);
    add(w, k);
    hn::StoreU(hn::Add(hn::LoadU(d, columns + k), w), d, columns + k);
  }
  ForVectors(row + whole, n - whole, [&](V w, size_t /*k*/) { add(w, whole); });
  for (size_t k = whole; k < n; ++k) columns[k] += row[k];
  *sums = {hn::GetLane(hn::SumOfLanes(d, total)), hn::GetLane(hn::SumOfLanes(d, moment)),
           hn::GetLane(hn::MaxOfLanes(d, largest))};
}

void PoolWeightsOf(const float* row, int64_t count, SumAndMax* pooled) {
  const D d;
  V sum = hn::Zero(d);
  V max = sum;
  ForVectors(row, static_cast<size_t>(count), [&](V w, size_t /*k*/) {
    sum = hn::Add(sum, w);
    max = hn::Max(max, w);
  });
  *pooled = {hn::GetLane(hn::SumOfLanes(d, sum)), hn::GetLane(hn::MaxOfLanes(d, max))};
}

struct StripSums {
  template <class S>
  static HWY_INLINE void Run(const float* HWY_RESTRICT p, size_t keys, const StripWeights& sums) {
    const typename S::D d;
    const auto one = hn::Set(d, 1.0F);
    for (size_t v = 0; v < S::kWidth; v += S::kVectorLanes) {
      const auto factor = hn::Load(d, sums.factor + v);
      auto distance = hn::Load(d, sums.distance + v);
      auto total = hn::Zero(d);
      auto moment = total;
      auto largest = total;
      for (const float* at = p + v; at < p + v + keys * S::kWidth; at += S::kWidth) {
        const auto w = hn::Mul(hn::LoadU(d, at), factor);
        total = hn::Add(total, w);
        moment = hn::MulAdd(w, hn::Abs(distance), moment);
        largest = hn::Max(largest, w);
        distance = hn::Sub(distance, one);
      }
      hn::Store(total, d, sums.total + v);
      hn::Store(moment, d, sums.moment + v);
      hn::Store(largest, d, sums.largest + v);
    }
  }
};

struct StripColumnSums {
  template <class S>
  static HWY_INLINE void Run(const float* HWY_RESTRICT p, size_t keys, const StripColumns& columns) {
    const typename S::D d;
    for (int64_t head = 0; head < columns.count; ++head) {
      typename S::V factor[S::kVectors];
      hn::Mask<typename S::D> rows[S::kVectors];
      for (size_t v = 0; v < S::kVectors; ++v) {
        const float* lanes = columns.heads + static_cast<size_t>(head) * S::kWidth;
        rows[v] = hn::Gt(hn::LoadU(d, lanes + v * S::kVectorLanes), hn::Zero(d));
        factor[v] = hn::Load(d, columns.factor + v * S::kVectorLanes);
      }
      float* to = columns.columns + head * columns.stride;
      for (size_t k = 0; k < keys; ++k) {
        auto sum = hn::Zero(d);
#pragma GCC unroll 4
        for (size_t v = 0; v < S::kVectors; ++v) {
          const auto w = hn::Mul(hn::LoadU(d, p + k * S::kWidth + v * S::kVectorLanes), factor[v]);
          sum = hn::Add(sum, hn::IfThenElseZero(rows[v], w));
        }
        to[k] += hn::GetLane(hn::SumOfLanes(d, sum));
      }
    }
  }
};

void SumStripWeightsOf(const float* p, int64_t width, int64_t keys, const StripWeights& sums) {
  ForShape<StripSums>(width, p, static_cast<size_t>(keys), sums);
}
void AddStripColumnsOf(const float* p, int64_t width, int64_t keys, const StripColumns& columns) {
  ForShape<StripColumnSums>(width, p, static_cast<size_t>(keys), columns);
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
HWY_EXPORT(SumStripWeightsOf);
HWY_EXPORT(AddStripColumnsOf);
HWY_EXPORT(PoolWeightsOf);
HWY_EXPORT(EntropyOfRow);
HWY_EXPORT(FirstAboveIn);

WeightSums SumWeights(const float* w, int64_t n, int64_t distance, float* columns) {
  WeightSums sums = {};
  HWY_DYNAMIC_DISPATCH(SumWeightsOf)(w, n, distance, columns, &sums);
  return sums;
}
SumAndMax PoolWeights(const float* w, int64_t n) {
  SumAndMax pooled = {0, 0};
  HWY_DYNAMIC_DISPATCH(PoolWeightsOf)(w, n, &pooled);
  return pooled;
}
void SumStripWeights(const float* p, int64_t width, int64_t keys, const StripWeights& sums) {
  HWY_DYNAMIC_DISPATCH(SumStripWeightsOf)(p, width, keys, sums);
}
void AddStripColumns(const float* p, int64_t width, int64_t keys, const StripColumns& columns) {
  HWY_DYNAMIC_DISPATCH(AddStripColumnsOf)(p, width, keys, columns);
}
float EntropyOf(const float* weights, int64_t n) { return HWY_DYNAMIC_DISPATCH(EntropyOfRow)(weights, n); }
int64_t FirstAbove(const float* row, int64_t begin, int64_t n, float bound) {
  return HWY_DYNAMIC_DISPATCH(FirstAboveIn)(row, begin, n, bound);
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
