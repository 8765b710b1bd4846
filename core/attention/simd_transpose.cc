#include "core/attention/simd_transpose.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_transpose.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_floats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_HAVE_SCALABLE || HWY_TARGET == HWY_SCALAR

template <bool kAdd>
void ToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < width; ++r) {
      float& at = strip[i * width + r];
      at = kAdd ? at + rows[r * stride + i] : rows[r * stride + i];
    }
  }
}

void ToRows(const float* strip, int64_t width, int64_t n, float* rows, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < width; ++r) rows[r * stride + i] = strip[i * width + r];
  }
}

#else

// Four floats of each of the rows 0, 4, 8 ... below `rows`: one row in each 128 bits.
template <class D>
HWY_INLINE hn::Vec<D> LoadEveryFourth(D d, const float* rows, int64_t stride) {
  if constexpr (hn::MaxLanes(d) == 4) {
    return hn::LoadU(d, rows);
  } else {
    const hn::Half<D> half;
    constexpr auto kRows = static_cast<int64_t>(hn::MaxLanes(half));
    return hn::Combine(d, LoadEveryFourth(half, rows + kRows * stride, stride), LoadEveryFourth(half, rows, stride));
  }
}

template <class D, class V>
HWY_INLINE void StoreEveryFourth(D d, V v, float* rows, int64_t stride) {
  if constexpr (hn::MaxLanes(d) == 4) {
    hn::StoreU(v, d, rows);
  } else {
    const hn::Half<D> half;
    constexpr auto kRows = static_cast<int64_t>(hn::MaxLanes(half));
    StoreEveryFourth(half, hn::LowerHalf(half, v), rows, stride);
    StoreEveryFourth(half, hn::UpperHalf(half, v), rows + kRows * stride, stride);
  }
}

// Transposes the 4 x 4 floats that a..d have in each 128 bits.
template <class D, class V>
HWY_INLINE void Transpose4x4(D d, V& v0, V& v1, V& v2, V& v3) {
  const hn::RepartitionToWide<D> pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, v0, v1));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v0, v1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, v2, v3));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v2, v3));
  v0 = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
  v1 = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
  v2 = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
  v3 = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}

// The columns of a strip that D's vectors hold, for rows `rows` and beyond.
template <bool kAdd, class D>
HWY_INLINE void ColumnsToStrip(D d, const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  for (int64_t i = 0; i < n; i += 4) {
    auto v0 = LoadEveryFourth(d, rows + i, stride);
    auto v1 = LoadEveryFourth(d, rows + i + stride, stride);
    auto v2 = LoadEveryFourth(d, rows + i + 2 * stride, stride);
    auto v3 = LoadEveryFourth(d, rows + i + 3 * stride, stride);
    Transpose4x4(d, v0, v1, v2, v3);
    float* to = strip + i * width;
    const auto store = [d](hn::Vec<D> v, float* at)
                           HWY_ATTR { hn::Store(kAdd ? hn::Add(hn::Load(d, at), v) : v, d, at); };
    store(v0, to);
    store(v1, to + width);
    store(v2, to + 2 * width);
    store(v3, to + 3 * width);
  }
}

template <class D>
HWY_INLINE void ColumnsToRows(D d, const float* strip, int64_t width, int64_t n, float* rows, int64_t stride) {
  for (int64_t i = 0; i < n; i += 4) {
    const float* from = strip + i * width;
    auto v0 = hn::Load(d, from);
    auto v1 = hn::Load(d, from + width);
    auto v2 = hn::Load(d, from + 2 * width);
    auto v3 = hn::Load(d, from + 3 * width);
    Transpose4x4(d, v0, v1, v2, v3);
    StoreEveryFourth(d, v0, rows + i, stride);
    StoreEveryFourth(d, v1, rows + i + stride, stride);
    StoreEveryFourth(d, v2, rows + i + 2 * stride, stride);
    StoreEveryFourth(d, v3, rows + i + 3 * stride, stride);
  }
}

constexpr auto kFullWidth = static_cast<int64_t>(kLanes);

template <bool kAdd>
HWY_INLINE void ToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  if (width < kFullWidth) return ColumnsToStrip<kAdd>(HalfTag(), rows, stride, width, n, strip);
  for (int64_t r = 0; r < width; r += kFullWidth) {
    ColumnsToStrip<kAdd>(FullTag(), rows + r * stride, stride, width, n, strip + r);
  }
}

void ToRows(const float* strip, int64_t width, int64_t n, float* rows, int64_t stride) {
  if (width < kFullWidth) return ColumnsToRows(HalfTag(), strip, width, n, rows, stride);
  for (int64_t r = 0; r < width; r += kFullWidth) {
    ColumnsToRows(FullTag(), strip + r, width, n, rows + r * stride, stride);
  }
}

#endif

void SetStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  ToStrip<false>(rows, stride, width, n, strip);
}
void AddToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  ToStrip<true>(rows, stride, width, n, strip);
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(SetStrip);
HWY_EXPORT(AddToStrip);
HWY_EXPORT(ToRows);

void RowsToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  HWY_DYNAMIC_DISPATCH(SetStrip)(rows, stride, width, n, strip);
}
void AddRowsToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip) {
  HWY_DYNAMIC_DISPATCH(AddToStrip)(rows, stride, width, n, strip);
}
void StripToRows(const float* strip, int64_t width, int64_t n, float* rows, int64_t stride) {
  HWY_DYNAMIC_DISPATCH(ToRows)(strip, width, n, rows, stride);
}

void BitsToStrip(const uint8_t* bits, int64_t stride, int64_t rows, int64_t width, int64_t n, uint32_t* words) {
  for (int64_t k = 0; k < n; k += 32, words += width) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(words + r, bits + r * stride + k / 8, sizeof(*words));
    std::fill(words + rows, words + width, 0U);
  }
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
