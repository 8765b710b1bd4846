#include "core/attention/simd_thin.h"

#include <algorithm>
#include <atomic>
#include <cstring>

// Blocks of registers are arrays of vectors, which types without a size cannot be.
#include "hwy/detect_compiler_arch.h"
#if HWY_ARCH_ARM_A64
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_thin.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_halves-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr size_t kLanes = hn::MaxLanes(D());
constexpr bool kManyRegisters = HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64;

// Element types of tokens.
struct Float32 {
  using T = float;
  static HWY_INLINE V Load(const T* source) { return hn::LoadU(D(), source); }
};
struct Float16 {
  using T = uint16_t;
  static HWY_INLINE V Load(const T* source) { return FromFloat16(source); }
};
struct Bfloat16 {
  using T = uint16_t;
  static HWY_INLINE V Load(const T* source) { return FromBfloat16(source); }
};

// What is left of a token behind its whole vectors, as a vector with zeros: the
// last kLanes elements without those that were there before, or all of a token
// that has fewer.
template <class E>
class Tail {
 public:
  explicit HWY_INLINE Tail(size_t dim)
      : dim_(dim), repeated_(dim < kLanes ? 0 : kLanes - dim % kLanes), at_(dim < kLanes ? 0 : dim - kLanes) {}

  [[nodiscard]] HWY_INLINE V Load(const typename E::T* token) const {
    if (dim_ >= kLanes) return Keep(E::Load(token + at_));
    HWY_ALIGN typename E::T elements[kLanes] = {};
    std::memcpy(elements, token, dim_ * sizeof(elements[0]));
    return E::Load(elements);
  }
  // The same of floats with zeros behind them.
  [[nodiscard]] HWY_INLINE V LoadPadded(const float* row) const { return Keep(hn::LoadU(D(), row + at_)); }

  // v where the token's rest is, `other` elsewhere.
  [[nodiscard]] HWY_INLINE V Blend(V v, V other) const { return hn::IfThenElse(Repeated(), other, v); }
  [[nodiscard]] HWY_INLINE size_t at() const { return at_; }

 private:
  [[nodiscard]] HWY_INLINE hn::Mask<D> Repeated() const { return hn::FirstN(D(), repeated_); }
  [[nodiscard]] HWY_INLINE V Keep(V v) const { return hn::IfThenZeroElse(Repeated(), v); }

  size_t dim_;
  size_t repeated_;
  size_t at_;
};

// A vector's worth of a token from its element `at` on.
template <class E>
struct Whole {
  size_t at;
  [[nodiscard]] HWY_INLINE V Load(const typename E::T* token) const { return E::Load(token + at); }
};

// sums[i] = the sum of v_i's lanes, added up in one order for all.
HWY_INLINE void SumLanes(V v0, V v1, V v2, V v3, float* HWY_RESTRICT sums) {
#if HWY_TARGET == HWY_SCALAR
  sums[0] = hn::GetLane(v0);
  sums[1] = hn::GetLane(v1);
  sums[2] = hn::GetLane(v2);
  sums[3] = hn::GetLane(v3);
#else
  const D d;
  const hn::RepartitionToWide<D> wide;
  const hn::FixedTag<float, 4> four;
  const V v01 = hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1));
  const V v23 = hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3));
  const auto low = hn::InterleaveLower(wide, hn::BitCast(wide, v01), hn::BitCast(wide, v23));
  const auto high = hn::InterleaveUpper(wide, hn::BitCast(wide, v01), hn::BitCast(wide, v23));
  // Per 128 bits, the four sums.
  HWY_ALIGN float parts[kLanes];
  hn::Store(hn::Add(hn::BitCast(d, low), hn::BitCast(d, high)), d, parts);
  auto sum = hn::Load(four, parts);
  for (size_t i = 4; i < kLanes; i += 4) sum = hn::Add(sum, hn::Load(four, parts + i));
  hn::StoreU(sum, four, sums);
#endif
}

// Four dot products at a time share the sums of lanes.
constexpr size_t kDots = 4;

// Asks for a token's lines before they are loaded: too late to save time, but memory is read
// fastest if the hardware sees the order of addresses, and compilers reorder loads.
template <class E>
HWY_INLINE void ShowOrder(const typename E::T* token, size_t dim) {
  constexpr size_t kLine = 64 / sizeof(typename E::T);
  for (size_t i = 0; i < dim; i += kLine) hwy::Prefetch(token + i);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

// sums[r] = the products of query_r and the token, summed per lane: vectors in turn to one of
// two chains, which with some tokens at a time in flight hide the latency of multiply-adds.
template <class E, size_t R>
HWY_INLINE void MultiplyRows(const float* HWY_RESTRICT query, size_t query_stride, const typename E::T* token,
                             size_t dim, V* sums) {
  const D d;
  V even[R];
  V odd[R];
  for (size_t r = 0; r < R; ++r) even[r] = odd[r] = hn::Zero(d);
  ShowOrder<E>(token, dim);
  size_t at = 0;
  for (; at + 2 * kLanes <= dim; at += 2 * kLanes) {
    const V v0 = E::Load(token + at);
    for (size_t r = 0; r < R; ++r) even[r] = hn::MulAdd(hn::LoadU(d, query + r * query_stride + at), v0, even[r]);
    const V v1 = E::Load(token + at + kLanes);
    for (size_t r = 0; r < R; ++r) {
      odd[r] = hn::MulAdd(hn::LoadU(d, query + r * query_stride + at + kLanes), v1, odd[r]);
    }
  }
  if (at + kLanes <= dim) {
    const V v = E::Load(token + at);
    for (size_t r = 0; r < R; ++r) even[r] = hn::MulAdd(hn::LoadU(d, query + r * query_stride + at), v, even[r]);
    at += kLanes;
  }
  if (at < dim) {
    const Tail<E> tail(dim);
    const V v = tail.Load(token);
    for (size_t r = 0; r < R; ++r) odd[r] = hn::MulAdd(tail.LoadPadded(query + r * query_stride), v, odd[r]);
  }
  for (size_t r = 0; r < R; ++r) sums[r] = hn::Add(even[r], odd[r]);
}

// sums[r * (kDots / R) + t] = query_r . token_t.
template <class E, size_t R>
HWY_INLINE void DotBlock(const float* HWY_RESTRICT query, size_t query_stride, const typename E::T* const* tokens,
                         size_t dim, float* HWY_RESTRICT sums) {
  if constexpr (R == 1) {
    V s[kDots];
    MultiplyRows<E, R>(query, query_stride, tokens[0], dim, s);
    MultiplyRows<E, R>(query, query_stride, tokens[1], dim, s + 1);
    MultiplyRows<E, R>(query, query_stride, tokens[2], dim, s + 2);
    MultiplyRows<E, R>(query, query_stride, tokens[3], dim, s + 3);
    SumLanes(s[0], s[1], s[2], s[3], sums);
  } else if constexpr (R == 2) {
    V s[kDots];
    MultiplyRows<E, R>(query, query_stride, tokens[0], dim, s);
    MultiplyRows<E, R>(query, query_stride, tokens[1], dim, s + 2);
    SumLanes(s[0], s[2], s[1], s[3], sums);
  } else {
    V s[kDots];
    MultiplyRows<E, R>(query, query_stride, tokens[0], dim, s);
    SumLanes(s[0], s[1], s[2], s[3], sums);
  }
}

template <class E>
HWY_INLINE const typename E::T* TokenAt(const TokenRows& tokens, int64_t k) {
  return reinterpret_cast<const typename E::T*>(tokens.base) + k * tokens.stride;
}

// Tokens whose elements stay in the first-level cache while groups of rows take turns.
template <class E>
HWY_INLINE int64_t TokensPerTurn(const TokenRows& tokens) {
  constexpr int64_t kBytes = 8192;
  return std::max<int64_t>(kBytes / static_cast<int64_t>(sizeof(typename E::T)) / tokens.dim / 8 * 8, 8);
}

template <class E, size_t R>
HWY_INLINE void DotTurn(const float* query, size_t query_stride, const TokenRows& tokens, int64_t begin, int64_t end,
                        float* scores, size_t score_stride) {
  constexpr int64_t kTokens = kDots / R;
  const auto dim = static_cast<size_t>(tokens.dim);
  for (int64_t k = begin; k < end; k += kTokens) {
    const typename E::T* block[kTokens];
    // The last one stands in for those that are not there.
    for (int64_t t = 0; t < kTokens; ++t) block[t] = TokenAt<E>(tokens, std::min(k + t, end - 1));
    float sums[kDots];
    DotBlock<E, R>(query, query_stride, block, dim, sums);
    const auto at = static_cast<size_t>(k - begin);
    const auto count = static_cast<size_t>(std::min(kTokens, end - k));
    for (size_t r = 0; r < R; ++r) {
      float* row = scores + r * score_stride + at;
      if (count == kTokens) {
        for (size_t t = 0; t < kTokens; ++t) row[t] = sums[r * kTokens + t];
      } else {
        for (size_t t = 0; t < count; ++t) row[t] = sums[r * kTokens + t];
      }
    }
  }
}

template <class E>
HWY_INLINE void DotRowsOf(const ConstRows& query, const TokenRows& tokens, int64_t begin, int64_t end,
                          const MutableRows& scores) {
  const auto query_stride = static_cast<size_t>(query.stride);
  const auto score_stride = static_cast<size_t>(scores.stride);
  const int64_t turn = TokensPerTurn<E>(tokens);
  for (int64_t k = begin; k < end; k += turn) {
    const int64_t turn_end = std::min(k + turn, end);
    for (int64_t r = 0; r < query.rows;) {
      const float* rows = query.data + r * query.stride;
      float* dots = scores.data + r * scores.stride + (k - begin);
      if (r + 4 <= query.rows) {
        DotTurn<E, 4>(rows, query_stride, tokens, k, turn_end, dots, score_stride);
        r += 4;
      } else if (r + 2 <= query.rows) {
        DotTurn<E, 2>(rows, query_stride, tokens, k, turn_end, dots, score_stride);
        r += 2;
      } else {
        DotTurn<E, 1>(rows, query_stride, tokens, k, turn_end, dots, score_stride);
        r += 1;
      }
    }
  }
}

void DotRows(const ConstRows& query, const TokenRows& tokens, int64_t begin, int64_t end, const MutableRows& scores) {
  switch (tokens.dtype) {
    case DataType::kFloat16:
      return DotRowsOf<Float16>(query, tokens, begin, end, scores);
    case DataType::kBfloat16:
      return DotRowsOf<Bfloat16>(query, tokens, begin, end, scores);
    default:
      return DotRowsOf<Float32>(query, tokens, begin, end, scores);
  }
}

// acc[r, C vectors from `at`] over tokens in order: one chain of multiply-adds per element.
template <class E, size_t R, size_t C>
HWY_INLINE void AddColumns(const float* HWY_RESTRICT p, size_t p_stride, const TokenRows& tokens, int64_t begin,
                           int64_t end, size_t at, float* HWY_RESTRICT acc, size_t acc_stride) {
  const D d;
  V s[R * C];
  for (size_t r = 0; r < R; ++r) {
    for (size_t c = 0; c < C; ++c) s[r * C + c] = hn::Load(d, acc + r * acc_stride + at + c * kLanes);
  }
  for (int64_t k = begin; k < end; ++k) {
    const typename E::T* token = TokenAt<E>(tokens, k) + at;
    V weight[R];
    for (size_t r = 0; r < R; ++r) weight[r] = hn::Set(d, p[r * p_stride + static_cast<size_t>(k - begin)]);
    for (size_t c = 0; c < C; ++c) {
      const V v = E::Load(token + c * kLanes);
      for (size_t r = 0; r < R; ++r) s[r * C + c] = hn::MulAdd(weight[r], v, s[r * C + c]);
    }
  }
  for (size_t r = 0; r < R; ++r) {
    for (size_t c = 0; c < C; ++c) hn::Store(s[r * C + c], d, acc + r * acc_stride + at + c * kLanes);
  }
}

template <class E, size_t R>
HWY_INLINE void AddTail(const float* HWY_RESTRICT p, size_t p_stride, const TokenRows& tokens, int64_t begin,
                        int64_t end, float* HWY_RESTRICT acc, size_t acc_stride) {
  const D d;
  const Tail<E> tail(static_cast<size_t>(tokens.dim));
  V s[R];
  for (size_t r = 0; r < R; ++r) s[r] = hn::LoadU(d, acc + r * acc_stride + tail.at());
  for (int64_t k = begin; k < end; ++k) {
    const V v = tail.Load(TokenAt<E>(tokens, k));
    for (size_t r = 0; r < R; ++r) {
      s[r] = hn::MulAdd(hn::Set(d, p[r * p_stride + static_cast<size_t>(k - begin)]), v, s[r]);
    }
  }
  for (size_t r = 0; r < R; ++r) {
    float* row = acc + r * acc_stride + tail.at();
    hn::StoreU(tail.Blend(s[r], hn::LoadU(d, row)), d, row);
  }
}

// Vectors of columns beside R rows for which there are registers.
template <size_t R>
constexpr size_t kMostColumns = (kManyRegisters ? 16 : 8) / R;

template <class E, size_t R>
HWY_INLINE void AddTurn(const float* p, size_t p_stride, const TokenRows& tokens, int64_t begin, int64_t end,
                        float* acc, size_t acc_stride) {
  constexpr size_t kMost = kMostColumns<R>;
  const auto dim = static_cast<size_t>(tokens.dim);
  size_t at = 0;
  const auto left = [&] { return (dim - at) / kLanes; };
  for (; left() >= kMost; at += kMost * kLanes) {
    AddColumns<E, R, kMost>(p, p_stride, tokens, begin, end, at, acc, acc_stride);
  }
  if constexpr (kMost > 8) {
    for (; left() >= 8; at += 8 * kLanes) AddColumns<E, R, 8>(p, p_stride, tokens, begin, end, at, acc, acc_stride);
  }
  if constexpr (kMost > 4) {
    for (; left() >= 4; at += 4 * kLanes) AddColumns<E, R, 4>(p, p_stride, tokens, begin, end, at, acc, acc_stride);
  }
  for (; left() >= 2; at += 2 * kLanes) AddColumns<E, R, 2>(p, p_stride, tokens, begin, end, at, acc, acc_stride);
  for (; left() >= 1; at += kLanes) AddColumns<E, R, 1>(p, p_stride, tokens, begin, end, at, acc, acc_stride);
  if (at < dim) AddTail<E, R>(p, p_stride, tokens, begin, end, acc, acc_stride);
}

template <class E>
HWY_INLINE void AddWeightedRowsOf(const ConstRows& p, const TokenRows& tokens, int64_t begin, int64_t end,
                                  const MutableRows& acc) {
  const auto p_stride = static_cast<size_t>(p.stride);
  const auto acc_stride = static_cast<size_t>(acc.stride);
  const auto vectors = static_cast<size_t>(tokens.dim) / kLanes;
  // Tokens that do not fit are read in pieces, which is slow unless they come soon after each other.
  const int64_t turn = vectors > kMostColumns<1> ? 2 : TokensPerTurn<E>(tokens);
  for (int64_t k = begin; k < end; k += turn) {
    const int64_t turn_end = std::min(k + turn, end);
    for (int64_t r = 0; r < p.rows;) {
      const float* weights = p.data + r * p.stride + (k - begin);
      float* sums = acc.data + r * acc.stride;
      // Whole tokens at a time, if they fit: memory is read once, in order.
      if (r + 4 <= p.rows && vectors <= kMostColumns<4>) {
        AddTurn<E, 4>(weights, p_stride, tokens, k, turn_end, sums, acc_stride);
        r += 4;
      } else if (r + 2 <= p.rows && vectors <= kMostColumns<2>) {
        AddTurn<E, 2>(weights, p_stride, tokens, k, turn_end, sums, acc_stride);
        r += 2;
      } else {
        AddTurn<E, 1>(weights, p_stride, tokens, k, turn_end, sums, acc_stride);
        r += 1;
      }
    }
  }
}

void AddWeightedRows(const ConstRows& p, const TokenRows& tokens, int64_t begin, int64_t end, const MutableRows& acc) {
  switch (tokens.dtype) {
    case DataType::kFloat16:
      return AddWeightedRowsOf<Float16>(p, tokens, begin, end, acc);
    case DataType::kBfloat16:
      return AddWeightedRowsOf<Bfloat16>(p, tokens, begin, end, acc);
    default:
      return AddWeightedRowsOf<Float32>(p, tokens, begin, end, acc);
  }
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(DotRows);
HWY_EXPORT(AddWeightedRows);

void DotRows(const ConstRows& query, const TokenRows& tokens, int64_t begin, int64_t end, const MutableRows& scores) {
  HWY_DYNAMIC_DISPATCH(DotRows)(query, tokens, begin, end, scores);
}
void AddWeightedRows(const ConstRows& p, const TokenRows& tokens, int64_t begin, int64_t end, const MutableRows& acc) {
  HWY_DYNAMIC_DISPATCH(AddWeightedRows)(p, tokens, begin, end, acc);
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
