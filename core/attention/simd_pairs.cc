#include "core/attention/simd_pairs.h"

#include <cstring>

// Blocks of registers are arrays of vectors, which types without a size cannot be.
#include "hwy/detect_compiler_arch.h"
#if HWY_ARCH_ARM_A64
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_pairs.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

#if HWY_MAX_BYTES == 32 || HWY_MAX_BYTES == 64

namespace hn = hwy::HWY_NAMESPACE;

// Wider vectors would need half the instructions, but a load that fills them takes longer.
using D = hn::CappedTag<float, kPairWidth>;
using V = hn::Vec<D>;
constexpr size_t kWidth = kPairWidth;

// Element types of tokens. BothToAll: two neighbours in every pair of lanes.
struct Float32 {
  using T = float;
  static HWY_INLINE V BothToAll(const T* neighbours) {
    double both;
    std::memcpy(&both, neighbours, sizeof(both));
    return hn::BitCast(D(), hn::Set(hn::RepartitionToWide<D>(), both));
  }
};
struct Bfloat16 {
  using T = uint16_t;
  static HWY_INLINE V BothToAll(const T* neighbours) {
    uint32_t both;
    std::memcpy(&both, neighbours, sizeof(both));
    const hn::Repartition<uint8_t, D> bytes;
    // Bytes of the first, and of the second neighbour to the upper halves of lanes; 0 for 0x80.
    alignas(32) static constexpr uint8_t kUpper[32] = {
        0x80, 0x80, 0, 1, 0x80, 0x80, 2, 3, 0x80, 0x80, 0, 1, 0x80, 0x80, 2, 3,
        0x80, 0x80, 0, 1, 0x80, 0x80, 2, 3, 0x80, 0x80, 0, 1, 0x80, 0x80, 2, 3,
    };
    const auto all = hn::BitCast(bytes, hn::Set(hn::RebindToUnsigned<D>(), both));
    return hn::BitCast(D(), hn::TableLookupBytesOr0(all, hn::Load(bytes, kUpper)));
  }
};

// The last one, which has no neighbour: 0 in the odd lanes.
template <class E>
HWY_INLINE V LastToAll(const typename E::T* last) {
  const typename E::T both[2] = {*last, 0};
  return E::BothToAll(both);
}

// 8 rows by two: rows 0..3, and rows 4..7.
struct Pairs {
  V low;
  V high;
};

HWY_INLINE Pairs NoPairs() { return {hn::Zero(D()), hn::Zero(D())}; }
HWY_INLINE Pairs LoadPairs(const float* pairs) { return {hn::Load(D(), pairs), hn::Load(D(), pairs + kWidth)}; }
HWY_INLINE Pairs Zip(V evens, V odds) {
  const D d;
  // Per 128 bits.
  const V first = hn::InterleaveLower(d, evens, odds);
  const V second = hn::InterleaveUpper(d, evens, odds);
  return {hn::ConcatLowerLower(d, second, first), hn::ConcatUpperUpper(d, second, first)};
}
HWY_INLINE V Evens(const Pairs& pairs) { return hn::ConcatEven(D(), pairs.high, pairs.low); }
HWY_INLINE V Odds(const Pairs& pairs) { return hn::ConcatOdd(D(), pairs.high, pairs.low); }

HWY_INLINE void MulAddTo(V both, const Pairs& x, Pairs& sum) {
  sum.low = hn::MulAdd(both, x.low, sum.low);
  sum.high = hn::MulAdd(both, x.high, sum.high);
}

template <class E>
struct Shape {
  using Element = E;
  using T = typename E::T;
  static constexpr size_t kLine = 64 / sizeof(T);
  // Keys, or pairs of columns, that a block of registers holds.
  static constexpr size_t kRows = HWY_MAX_BYTES == 64 ? 12 : 6;
};

struct ScoreBlock {
  // Of kKeys keys.
  template <class S, size_t kKeys>
  static HWY_NOINLINE void Run(const float* HWY_RESTRICT query, size_t dim, const typename S::T* HWY_RESTRICT key,
                               size_t stride, float scale, const typename S::T* soon, float* HWY_RESTRICT scores,
                               float* HWY_RESTRICT max) {
    using E = typename S::Element;
    const D d;
    Pairs acc[kKeys];
#pragma GCC unroll 16
    for (size_t k = 0; k < kKeys; ++k) acc[k] = NoPairs();
    size_t i = 0;
    for (; i + 2 <= dim; i += 2) {
#pragma GCC unroll 2
      for (size_t line = 0; line < 2 * kKeys; line += S::kLine) BringNearer(soon + i * kKeys + line);
      const Pairs q = LoadPairs(query + i * kWidth);
#pragma GCC unroll 16
      for (size_t k = 0; k < kKeys; ++k) MulAddTo(E::BothToAll(key + k * stride + i), q, acc[k]);
    }
    if (i < dim) {
      const Pairs q = LoadPairs(query + i * kWidth);
#pragma GCC unroll 16
      for (size_t k = 0; k < kKeys; ++k) MulAddTo(LastToAll<E>(key + k * stride + i), q, acc[k]);
    }
    const V factor = hn::Set(d, scale);
    V m = hn::Load(d, max);
#pragma GCC unroll 16
    for (size_t k = 0; k < kKeys; ++k) {
      // After the sum, as in the formula: its range is that of the scores.
      const V score = hn::Mul(hn::Add(Evens(acc[k]), Odds(acc[k])), factor);
      hn::Store(score, d, scores + k * kWidth);
      // Max returns its second operand when one is NaN.
      m = hn::Max(score, m);
    }
    hn::Store(m, d, max);
  }
};

template <class E>
HWY_INLINE void ScoresOf(const float* query, float scale, const TokenRows& keys, int64_t begin, int64_t end,
                         float* scores, float* max, const std::byte* soon) {
  using S = Shape<E>;
  const auto dim = static_cast<size_t>(keys.dim);
  const auto count = static_cast<size_t>(end - begin);
  const auto* key = reinterpret_cast<const typename S::T*>(keys.base) + begin * keys.stride;
  const auto* nearer = soon == nullptr ? key : reinterpret_cast<const typename S::T*>(soon);
  const size_t runs = RunsOf<S>(count);
  for (size_t i = 0; i < runs; ++i) {
    const size_t first = RunBegin(count, i, runs);
    RunRows<ScoreBlock, S, S::kRows>(RunBegin(count, i + 1, runs) - first, query, dim, key + first * keys.stride,
                                     static_cast<size_t>(keys.stride), scale, nearer + first * dim,
                                     scores + first * kWidth, max);
  }
}

struct ValueBlock {
  // Of kPairs pairs of columns.
  template <class S, size_t kPairs>
  static HWY_NOINLINE void Run(const float* HWY_RESTRICT p, size_t keys, const typename S::T* HWY_RESTRICT value,
                               size_t stride, const float* HWY_RESTRICT alpha, const typename S::T* soon,
                               float* HWY_RESTRICT out) {
    using E = typename S::Element;
    const D d;
    Pairs acc[kPairs];
    if (alpha == nullptr) {
#pragma GCC unroll 16
      for (size_t c = 0; c < kPairs; ++c) acc[c] = NoPairs();
    } else {
      const V a = hn::Load(d, alpha);
#pragma GCC unroll 16
      for (size_t c = 0; c < kPairs; ++c) {
        const float* at = out + 2 * c * kWidth;
        acc[c] = Zip(hn::Mul(a, hn::Load(d, at)), hn::Mul(a, hn::Load(d, at + kWidth)));
      }
    }
    for (size_t k = 0; k < keys; ++k) {
#pragma GCC unroll 2
      for (size_t line = 0; line < 2 * kPairs; line += S::kLine) BringNearer(soon + 2 * k * kPairs + line);
      const V weight = hn::Load(d, p + k * kWidth);
      const Pairs weights = Zip(weight, weight);
#pragma GCC unroll 16
      for (size_t c = 0; c < kPairs; ++c) MulAddTo(E::BothToAll(value + k * stride + 2 * c), weights, acc[c]);
    }
#pragma GCC unroll 16
    for (size_t c = 0; c < kPairs; ++c) {
      hn::Store(Evens(acc[c]), d, out + 2 * c * kWidth);
      hn::Store(Odds(acc[c]), d, out + (2 * c + 1) * kWidth);
    }
  }
};

// A last column without a neighbour.
template <class E>
HWY_INLINE void AddLastColumn(const float* HWY_RESTRICT p, size_t keys, const typename E::T* value, size_t stride,
                              const float* alpha, float* HWY_RESTRICT out) {
  const D d;
  Pairs acc = alpha == nullptr ? NoPairs() : Zip(hn::Mul(hn::Load(d, alpha), hn::Load(d, out)), hn::Zero(d));
  for (size_t k = 0; k < keys; ++k) {
    MulAddTo(LastToAll<E>(value + k * stride), Zip(hn::Load(d, p + k * kWidth), hn::Zero(d)), acc);
  }
  hn::Store(Evens(acc), d, out);
}

template <class E>
HWY_INLINE void AddValuesOf(const float* p, const TokenRows& values, int64_t begin, int64_t end, const float* alpha,
                            float* acc, const std::byte* soon) {
  using S = Shape<E>;
  const auto keys = static_cast<size_t>(end - begin);
  const auto dim = static_cast<size_t>(values.dim);
  const auto stride = static_cast<size_t>(values.stride);
  const auto* value = reinterpret_cast<const typename S::T*>(values.base) + begin * values.stride;
  const auto* nearer = soon == nullptr ? value : reinterpret_cast<const typename S::T*>(soon);
  const size_t runs = RunsOf<S>(dim / 2);
  for (size_t i = 0; i < runs; ++i) {
    const size_t first = RunBegin(dim / 2, i, runs);
    RunRows<ValueBlock, S, S::kRows>(RunBegin(dim / 2, i + 1, runs) - first, p, keys, value + 2 * first, stride, alpha,
                                     nearer + 2 * first * keys, acc + 2 * first * kWidth);
  }
  if (dim % 2 != 0) AddLastColumn<E>(p, keys, value + dim - 1, stride, alpha, acc + (dim - 1) * kWidth);
}

bool Exist() { return true; }

void ToPairs(int64_t dim, float* query) {
  const D d;
  const auto end = static_cast<size_t>(dim) * kWidth;
  if (dim % 2 != 0) std::memset(query + end, 0, kWidth * sizeof(float));
  for (size_t i = 0; i < end; i += 2 * kWidth) {
    const Pairs pairs = Zip(hn::Load(d, query + i), hn::Load(d, query + i + kWidth));
    hn::Store(pairs.low, d, query + i);
    hn::Store(pairs.high, d, query + i + kWidth);
  }
}

void Scores(const float* query, float scale, const TokenRows& keys, int64_t begin, int64_t end, float* scores,
            float* max, const std::byte* soon) {
  if (keys.dtype == DataType::kBfloat16) {
    ScoresOf<Bfloat16>(query, scale, keys, begin, end, scores, max, soon);
  } else {
    ScoresOf<Float32>(query, scale, keys, begin, end, scores, max, soon);
  }
}

void AddValues(const float* p, const TokenRows& values, int64_t begin, int64_t end, const float* alpha, float* acc,
               const std::byte* soon) {
  if (values.dtype == DataType::kBfloat16) {
    AddValuesOf<Bfloat16>(p, values, begin, end, alpha, acc, soon);
  } else {
    AddValuesOf<Float32>(p, values, begin, end, alpha, acc, soon);
  }
}

#else  // HWY_MAX_BYTES

bool Exist() { return false; }
void ToPairs(int64_t /*dim*/, float* /*query*/) {}
void Scores(const float* /*query*/, float /*scale*/, const TokenRows& /*keys*/, int64_t /*begin*/, int64_t /*end*/,
            float* /*scores*/, float* /*max*/, const std::byte* /*soon*/) {}
void AddValues(const float* /*p*/, const TokenRows& /*values*/, int64_t /*begin*/, int64_t /*end*/,
               const float* /*alpha*/, float* /*acc*/, const std::byte* /*soon*/) {}

#endif  // HWY_MAX_BYTES

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(Exist);
HWY_EXPORT(ToPairs);
HWY_EXPORT(Scores);
HWY_EXPORT(AddValues);

bool InPairs(int64_t width) { return width == kPairWidth && HWY_DYNAMIC_DISPATCH(Exist)(); }
void StripToPairs(int64_t dim, float* query) { HWY_DYNAMIC_DISPATCH(ToPairs)(dim, query); }
void PairScores(const float* query, float scale, const TokenRows& keys, int64_t begin, int64_t end, float* scores,
                float* max, const std::byte* soon) {
  HWY_DYNAMIC_DISPATCH(Scores)(query, scale, keys, begin, end, scores, max, soon);
}
void PairAddValues(const float* p, const TokenRows& values, int64_t begin, int64_t end, const float* alpha, float* acc,
                   const std::byte* soon) {
  HWY_DYNAMIC_DISPATCH(AddValues)(p, values, begin, end, alpha, acc, soon);
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
