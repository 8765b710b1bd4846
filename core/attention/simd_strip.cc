#include "core/attention/simd_strip.h"

#include <cstddef>
#include <limits>

// Blocks of registers are arrays of vectors, which types without a size cannot be.
#include "hwy/detect_compiler_arch.h"
#if HWY_ARCH_ARM_A64
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_strip.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_blocks-inl.h"
#include "core/attention/simd_floats-inl.h"
#include "core/attention/simd_shapes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr float kNegInf = -std::numeric_limits<float>::infinity();
// exp of it, and of all below, is 0.
constexpr float kNegligible = -200;
int64_t FullWidth() { return static_cast<int64_t>(kFullVectors * kLanes); }

int64_t WidthOf(int64_t rows) {
  const auto half = static_cast<int64_t>(hn::MaxLanes(HalfTag()));
  const auto lanes = static_cast<int64_t>(kLanes);
  return rows <= half ? half : (rows + lanes - 1) / lanes * lanes;
}

struct ScoreBlock {
  // Of kKeys keys.
  template <class S, size_t kKeys>
  static HWY_NOINLINE void Run(const float* HWY_RESTRICT query, size_t dim, const float* HWY_RESTRICT key,
                               size_t stride, float scale, const float* soon, float* HWY_RESTRICT scores,
                               float* HWY_RESTRICT max) {
    const typename S::D d;
    typename S::V acc[kKeys][S::kVectors];
#pragma GCC unroll 16
    for (size_t k = 0; k < kKeys; ++k) {
#pragma GCC unroll 4
      for (size_t v = 0; v < S::kVectors; ++v) acc[k][v] = hn::Zero(d);
    }
    for (size_t i = 0; i < dim; ++i) {
      BringNearer(soon + i * kKeys);
      typename S::V q[S::kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < S::kVectors; ++v) q[v] = hn::Load(d, query + i * S::kWidth + v * S::kVectorLanes);
#pragma GCC unroll 16
      for (size_t k = 0; k < kKeys; ++k) {
        const auto element = hn::Set(d, key[k * stride + i]);
#pragma GCC unroll 4
        for (size_t v = 0; v < S::kVectors; ++v) acc[k][v] = hn::MulAdd(element, q[v], acc[k][v]);
      }
    }
    const auto factor = hn::Set(d, scale);
#pragma GCC unroll 4
    for (size_t v = 0; v < S::kVectors; ++v) {
      auto m = hn::Load(d, max + v * S::kVectorLanes);
#pragma GCC unroll 16
      for (size_t k = 0; k < kKeys; ++k) {
        // After the sum, as in the formula: its range is that of the scores.
        const auto score = hn::Mul(acc[k][v], factor);
        hn::Store(score, d, scores + k * S::kWidth + v * S::kVectorLanes);
        // Max returns its second operand when one is NaN.
        m = hn::Max(score, m);
      }
      hn::Store(m, d, max + v * S::kVectorLanes);
    }
  }
};

struct Scores {
  template <class S>
  static HWY_INLINE void Run(const float* query, size_t dim, float scale, const FloatRows& key, size_t keys,
                             const float* soon, float* scores, float* max) {
    const auto stride = static_cast<size_t>(key.stride);
    const size_t runs = RunsOf<S>(keys);
    for (size_t i = 0; i < runs; ++i) {
      const size_t begin = RunBegin(keys, i, runs);
      RunRows<ScoreBlock, S, S::kRows>(RunBegin(keys, i + 1, runs) - begin, query, dim, key.data + begin * stride,
                                       stride, scale, soon + begin * dim, scores + begin * S::kWidth, max);
    }
  }
};

struct ValueBlock {
  // Of kColumns columns of the values.
  template <class S, size_t kColumns>
  static HWY_NOINLINE void Run(const float* HWY_RESTRICT p, size_t keys, const float* HWY_RESTRICT value, size_t stride,
                               const float* HWY_RESTRICT alpha, const float* soon, float* HWY_RESTRICT out) {
    const typename S::D d;
    typename S::V acc[kColumns][S::kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < S::kVectors; ++v) {
      const auto a = alpha == nullptr ? hn::Zero(d) : hn::Load(d, alpha + v * S::kVectorLanes);
#pragma GCC unroll 16
      for (size_t c = 0; c < kColumns; ++c) {
        acc[c][v] = alpha == nullptr ? a : hn::Mul(a, hn::Load(d, out + c * S::kWidth + v * S::kVectorLanes));
      }
    }
    for (size_t k = 0; k < keys; ++k) {
      BringNearer(soon + k * kColumns);
      typename S::V weight[S::kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < S::kVectors; ++v) weight[v] = hn::Load(d, p + k * S::kWidth + v * S::kVectorLanes);
#pragma GCC unroll 16
      for (size_t c = 0; c < kColumns; ++c) {
        const auto element = hn::Set(d, value[k * stride + c]);
#pragma GCC unroll 4
        for (size_t v = 0; v < S::kVectors; ++v) acc[c][v] = hn::MulAdd(element, weight[v], acc[c][v]);
      }
    }
#pragma GCC unroll 16
    for (size_t c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (size_t v = 0; v < S::kVectors; ++v) hn::Store(acc[c][v], d, out + c * S::kWidth + v * S::kVectorLanes);
    }
  }
};

struct AddValues {
  template <class S>
  static HWY_INLINE void Run(const float* p, size_t keys, const FloatRows& value, size_t dim, const float* alpha,
                             const float* soon, float* acc) {
    const size_t runs = RunsOf<S>(dim);
    for (size_t i = 0; i < runs; ++i) {
      const size_t begin = RunBegin(dim, i, runs);
      RunRows<ValueBlock, S, S::kRows>(RunBegin(dim, i + 1, runs) - begin, p, keys, value.data + begin,
                                       static_cast<size_t>(value.stride), alpha, soon + begin * keys,
                                       acc + begin * S::kWidth);
    }
  }
};

struct HideOutside {
  template <class S>
  static HWY_INLINE void Run(const int32_t* begin, const int32_t* end, size_t first, size_t keys, float* scores,
                             float* max) {
    const typename S::D d;
    const hn::RebindToSigned<typename S::D> di;
    const auto hidden = hn::Set(d, kNegInf);
    for (size_t v = 0; v < S::kWidth; v += S::kVectorLanes) {
      const auto from = hn::Load(di, begin + v);
      const auto to = hn::Load(di, end + v);
      auto m = hn::Load(d, max + v);
      for (size_t k = 0; k < keys; ++k) {
        const auto index = hn::Set(di, static_cast<int32_t>(first + k));
        const auto out = hn::Or(hn::Lt(index, from), hn::Not(hn::Lt(index, to)));
        float* at = scores + k * S::kWidth + v;
        const auto score = hn::IfThenElse(hn::RebindMask(d, out), hidden, hn::Load(d, at));
        hn::Store(score, d, at);
        m = hn::Max(score, m);
      }
      hn::Store(m, d, max + v);
    }
  }
};

struct HideByBits {
  // A row's keys are a word of its lane, so that a bit selects a key in all rows.
  template <class S>
  static HWY_INLINE void Run(const uint32_t* visible, size_t keys, float* scores, float* max) {
    constexpr size_t kWordBits = 32;
    const typename S::D d;
    const hn::RebindToUnsigned<typename S::D> du;
    const auto hidden = hn::Set(d, kNegInf);
    typename S::V m[S::kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < S::kVectors; ++v) m[v] = hn::Load(d, max + v * S::kVectorLanes);
    for (size_t begin = 0; begin < keys; begin += kWordBits, visible += S::kWidth) {
      hn::Vec<decltype(du)> words[S::kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < S::kVectors; ++v) words[v] = hn::LoadU(du, visible + v * S::kVectorLanes);
      auto bit = hn::Set(du, 1);
      const size_t end = begin + kWordBits < keys ? begin + kWordBits : keys;
      for (float* at = scores + begin * S::kWidth; at < scores + end * S::kWidth; bit = hn::Add(bit, bit)) {
#pragma GCC unroll 4
        for (size_t v = 0; v < S::kVectors; ++v, at += S::kVectorLanes) {
          const auto seen = hn::RebindMask(d, hn::TestBit(words[v], bit));
          const auto score = hn::IfThenElse(seen, hn::Load(d, at), hidden);
          hn::Store(score, d, at);
          m[v] = hn::Max(score, m[v]);
        }
      }
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < S::kVectors; ++v) hn::Store(m[v], d, max + v * S::kVectorLanes);
  }
};

struct Max {
  template <class S>
  static HWY_INLINE void Run(size_t keys, const float* scores, float* max) {
    const typename S::D d;
    for (size_t v = 0; v < S::kWidth; v += S::kVectorLanes) {
      auto m = hn::Load(d, max + v);
      for (size_t k = 0; k < keys; ++k) m = hn::Max(hn::Load(d, scores + k * S::kWidth + v), m);
      hn::Store(m, d, max + v);
    }
  }
};

template <bool kMoment>
struct Softmax {
  // p, and what it adds to the moment; x is not positive. A p of 0 adds nothing, though x is -inf.
  template <class D, class V>
  static HWY_INLINE V Weigh(D d, V x, V* moment) {
    const V p = ExpNonPositive(d, x);
    if constexpr (kMoment) *moment = hn::MulAdd(p, hn::Max(x, hn::Set(d, kNegligible)), *moment);
    return p;
  }

  template <class S>
  static HWY_INLINE void Run(size_t keys, const float* HWY_RESTRICT block_max, float* HWY_RESTRICT scores,
                             const StripState& state, float* HWY_RESTRICT moments) {
    const typename S::D d;
    for (size_t v = 0; v < S::kWidth; v += S::kVectorLanes) {
      const auto old_max = hn::Load(d, state.max + v);
      const auto new_max = hn::Max(old_max, hn::Load(d, block_max + v));
      // Without a finite maximum every score is -inf or NaN: 0 keeps -inf - m defined.
      const auto none = hn::Eq(new_max, hn::Set(d, kNegInf));
      const auto m = hn::IfThenZeroElse(none, new_max);
      const auto alpha = ExpNonPositive(d, hn::Sub(old_max, m));
      hn::Store(new_max, d, state.max + v);
      hn::Store(alpha, d, state.alpha + v);
      // Two sums, by the key's parity: additions wait for each other.
      auto even = hn::Zero(d);
      auto odd = even;
      auto even_moment = hn::Zero(d);
      auto odd_moment = even_moment;
      float* at = scores + v;
      size_t k = 0;
      for (; k + 2 <= keys; k += 2, at += 2 * S::kWidth) {
        const auto p0 = Weigh(d, hn::Sub(hn::Load(d, at), m), &even_moment);
        const auto p1 = Weigh(d, hn::Sub(hn::Load(d, at + S::kWidth), m), &odd_moment);
        hn::Store(p0, d, at);
        hn::Store(p1, d, at + S::kWidth);
        even = hn::Add(even, p0);
        odd = hn::Add(odd, p1);
      }
      if (k < keys) {
        const auto p0 = Weigh(d, hn::Sub(hn::Load(d, at), m), &even_moment);
        hn::Store(p0, d, at);
        even = hn::Add(even, p0);
      }
      if constexpr (kMoment) {
        // What older scores are less by, now that they are taken from another maximum.
        const auto old_sum = hn::Load(d, state.sum + v);
        const auto drop = hn::Max(hn::Sub(old_max, m), hn::Set(d, kNegligible));
        const auto less = hn::IfThenZeroElse(hn::Eq(old_sum, hn::Zero(d)), hn::Mul(drop, old_sum));
        const auto older = hn::Mul(alpha, hn::Add(hn::Load(d, moments + v), less));
        hn::Store(hn::Add(older, hn::Add(even_moment, odd_moment)), d, moments + v);
      }
      hn::Store(hn::MulAdd(hn::Load(d, state.sum + v), alpha, hn::Add(even, odd)), d, state.sum + v);
    }
  }
};

struct Divide {
  // Of one vector of rows. Returns NaN for rows with a result that is not finite, 0 for others. `plain`: every factor
  // is 1 and no sum 0.
  template <class S, bool plain>
  static HWY_INLINE typename S::V Columns(typename S::V factor, typename S::V divisor, size_t dim, float* acc) {
    const typename S::D d;
    const auto reciprocal = hn::Div(hn::Set(d, 1.0F), divisor);
    const auto none = hn::Eq(divisor, hn::Zero(d));
    auto bad = hn::Zero(d);
    for (float* at = acc; at < acc + dim * S::kWidth; at += S::kWidth) {
      auto x = hn::Load(d, at);
      if constexpr (!plain) x = hn::Mul(x, factor);
      auto quotient = Quotient(x, divisor, reciprocal);
      if constexpr (!plain) quotient = hn::IfThenZeroElse(none, quotient);
      bad = hn::MulAdd(quotient, hn::Zero(d), bad);
      hn::Store(quotient, d, at);
    }
    return bad;
  }

  template <class S>
  static HWY_INLINE void Run(const float* keep, const float* sum, size_t dim, float* acc, uint64_t* not_finite) {
    const typename S::D d;
    for (size_t v = 0; v < S::kWidth; v += S::kVectorLanes) {
      const auto factor = hn::Load(d, keep + v);
      const auto divisor = hn::Load(d, sum + v);
      const bool plain =
          hn::AllTrue(d, hn::Eq(factor, hn::Set(d, 1.0F))) && hn::AllFalse(d, hn::Eq(divisor, hn::Zero(d)));
      const auto bad =
          plain ? Columns<S, true>(factor, divisor, dim, acc + v) : Columns<S, false>(factor, divisor, dim, acc + v);
      uint8_t bits[8] = {};
      hn::StoreMaskBits(d, hn::IsNaN(bad), bits);
      for (size_t i = 0; i < (S::kVectorLanes + 7) / 8; ++i) *not_finite |= uint64_t{bits[i]} << (8 * i + v);
    }
  }
};

void ScoresOf(const float* query, int64_t width, int64_t dim, float scale, const FloatRows& key, int64_t keys,
              float* scores, float* max, const float* soon) {
  ForShape<Scores>(width, query, static_cast<size_t>(dim), scale, key, static_cast<size_t>(keys),
                   soon == nullptr ? key.data : soon, scores, max);
}
void HideOutsideOf(const int32_t* begin, const int32_t* end, int64_t width, int64_t first, int64_t keys, float* scores,
                   float* max) {
  ForShape<HideOutside>(width, begin, end, static_cast<size_t>(first), static_cast<size_t>(keys), scores, max);
}
void HideByBitsOf(const uint32_t* visible, int64_t width, int64_t keys, float* scores, float* max) {
  ForShape<HideByBits>(width, visible, static_cast<size_t>(keys), scores, max);
}
void MaxOf(int64_t width, int64_t keys, const float* scores, float* max) {
  ForShape<Max>(width, static_cast<size_t>(keys), scores, max);
}
void SoftmaxOf(int64_t width, int64_t keys, const float* block_max, float* scores, const StripState& state) {
  ForShape<Softmax<false>>(width, static_cast<size_t>(keys), block_max, scores, state, nullptr);
}
void SoftmaxMomentOf(int64_t width, int64_t keys, const float* block_max, float* scores, const StripState& state,
                     float* moment) {
  ForShape<Softmax<true>>(width, static_cast<size_t>(keys), block_max, scores, state, moment);
}
void AddValuesOf(const float* p, int64_t width, int64_t keys, const FloatRows& value, int64_t dim, const float* alpha,
                 float* acc, const float* soon) {
  ForShape<AddValues>(width, p, static_cast<size_t>(keys), value, static_cast<size_t>(dim), alpha,
                      soon == nullptr ? value.data : soon, acc);
}

uint64_t DivideStrip(const float* keep, const float* sum, int64_t width, int64_t dim, float* acc) {
  uint64_t not_finite = 0;
  ForShape<Divide>(width, keep, sum, static_cast<size_t>(dim), acc, &not_finite);
  return not_finite;
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(FullWidth);
HWY_EXPORT(WidthOf);
HWY_EXPORT(ScoresOf);
HWY_EXPORT(HideOutsideOf);
HWY_EXPORT(HideByBitsOf);
HWY_EXPORT(MaxOf);
HWY_EXPORT(SoftmaxOf);
HWY_EXPORT(SoftmaxMomentOf);
HWY_EXPORT(AddValuesOf);
HWY_EXPORT(DivideStrip);

int64_t FullStripWidth() { return HWY_DYNAMIC_DISPATCH(FullWidth)(); }
int64_t StripWidth(int64_t rows) { return HWY_DYNAMIC_DISPATCH(WidthOf)(rows); }
void StripScores(const float* query, int64_t width, int64_t dim, float scale, const FloatRows& key, int64_t keys,
                 float* scores, float* max, const float* soon) {
  HWY_DYNAMIC_DISPATCH(ScoresOf)(query, width, dim, scale, key, keys, scores, max, soon);
}
void StripHideOutside(const int32_t* begin, const int32_t* end, int64_t width, int64_t first, int64_t keys,
                      float* scores, float* max) {
  HWY_DYNAMIC_DISPATCH(HideOutsideOf)(begin, end, width, first, keys, scores, max);
}
void StripHideByBits(const uint32_t* visible, int64_t width, int64_t keys, float* scores, float* max) {
  HWY_DYNAMIC_DISPATCH(HideByBitsOf)(visible, width, keys, scores, max);
}
void StripMax(int64_t width, int64_t keys, const float* scores, float* max) {
  HWY_DYNAMIC_DISPATCH(MaxOf)(width, keys, scores, max);
}
void StripSoftmax(int64_t width, int64_t keys, const float* block_max, float* scores, const StripState& state) {
  HWY_DYNAMIC_DISPATCH(SoftmaxOf)(width, keys, block_max, scores, state);
}
void StripSoftmaxMoment(int64_t width, int64_t keys, const float* block_max, float* scores, const StripState& state,
                        float* moment) {
  HWY_DYNAMIC_DISPATCH(SoftmaxMomentOf)(width, keys, block_max, scores, state, moment);
}
void StripAddValues(const float* p, int64_t width, int64_t keys, const FloatRows& value, int64_t dim,
                    const float* alpha, float* acc, const float* soon) {
  HWY_DYNAMIC_DISPATCH(AddValuesOf)(p, width, keys, value, dim, alpha, acc, soon);
}

uint64_t StripDivide(const float* keep, const float* sum, int64_t width, int64_t dim, float* acc) {
  return HWY_DYNAMIC_DISPATCH(DivideStrip)(keep, sum, width, dim, acc);
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
