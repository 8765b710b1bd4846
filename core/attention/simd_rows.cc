#include "core/attention/simd_rows.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/attention/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_halves-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<D>;
using DU16 = hn::Rebind<uint16_t, D>;
using DF16 = hn::Rebind<hwy::float16_t, D>;
using V = hn::Vec<D>;

HWY_INLINE size_t Lanes() { return hn::Lanes(D()); }

constexpr uint32_t kSignBit = 0x80000000;

HWY_INLINE void ToBfloat16(V v, uint16_t* destination) {
  const DU du;
  const auto bits = hn::BitCast(du, v);
  // Half of the last kept place, and one more if that place is odd.
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto is_number = hn::RebindMask(du, hn::Eq(v, v));
  const auto upper = hn::ShiftRight<16>(hn::IfThenElse(is_number, rounded, quiet));
  hn::StoreU(hn::TruncateTo(DU16(), upper), DU16(), destination);
}

HWY_INLINE void ToFloat16(V v, uint16_t* destination) {
  const D d;
  const DU du;
  if constexpr (!kFloat16ByHand) {
    hn::StoreU(hn::BitCast(DU16(), hn::DemoteTo(DF16(), v)), DU16(), destination);
    return;
  }
  const auto bits = hn::BitCast(du, v);
  const auto sign = hn::ShiftRight<16>(hn::And(bits, hn::Set(du, kSignBit)));
  const auto magnitude = hn::AndNot(hn::Set(du, kSignBit), bits);
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1));
  // The smaller bias, and half of the last kept place (less one unless that place is odd).
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, odd), hn::Set(du, 0xC8000FFF)));
  // Beside 0.5 the last place of float32 is that of float16 below its normal numbers.
  const V half = hn::Set(d, 0.5F);
  const auto tiny = hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(d, magnitude), half)), hn::BitCast(du, half));
  const auto is_nan = hn::Gt(magnitude, hn::Set(du, kInfinityBits));
  const auto large = hn::IfThenElse(is_nan, hn::Set(du, 0x7E00), hn::Set(du, 0x7C00));
  const auto is_tiny = hn::Gt(hn::Set(du, 0x38800000), magnitude);   // 2^-14
  const auto is_large = hn::Gt(magnitude, hn::Set(du, 0x477FFFFF));  // 2^16 less one place
  const auto stored = hn::IfThenElse(is_tiny, tiny, hn::IfThenElse(is_large, large, normal));
  hn::StoreU(hn::TruncateTo(DU16(), hn::Or(stored, sign)), DU16(), destination);
}

// op(source, destination) for whole vectors; the rest goes through a vector's worth of
// memory of its own, so that every element takes the same path.
template <typename From, typename To, typename Op>
HWY_INLINE void ForVectors(const From* source, size_t n, To* destination, Op op) {
  size_t i = 0;
  for (; i + Lanes() <= n; i += Lanes()) op(source + i, destination + i);
  if (i == n) return;
  From from[HWY_MAX_BYTES / sizeof(float)] = {};
  To to[HWY_MAX_BYTES / sizeof(float)];
  std::memcpy(from, source + i, (n - i) * sizeof(From));
  op(from, to);
  std::memcpy(destination + i, to, (n - i) * sizeof(To));
}

// The same for a destination apart from its source: the last vector ends where they end.
template <typename From, typename To, typename Op>
HWY_INLINE void Convert(const From* source, size_t n, To* destination, Op op) {
  if (n < Lanes()) return ForVectors(source, n, destination, op);
  for (size_t i = 0; i + Lanes() <= n; i += Lanes()) op(source + i, destination + i);
  if (n % Lanes() != 0) op(source + n - Lanes(), destination + n - Lanes());
}

void LoadRow(const std::byte* source, DataType dtype, int64_t count, float* HWY_RESTRICT destination) {
  const auto n = static_cast<size_t>(count);
  if (dtype == DataType::kFloat32) {
    std::memcpy(destination, source, n * sizeof(float));
    return;
  }
  const auto* halves = reinterpret_cast<const uint16_t*>(source);
  if (dtype == DataType::kFloat16) {
    Convert(halves, n, destination, [](const uint16_t* s, float* d) { hn::StoreU(FromFloat16(s), D(), d); });
  } else {
    Convert(halves, n, destination, [](const uint16_t* s, float* d) { hn::StoreU(FromBfloat16(s), D(), d); });
  }
}

void StoreRow(const float* HWY_RESTRICT source, int64_t count, DataType dtype, std::byte* destination) {
  const auto n = static_cast<size_t>(count);
  if (dtype == DataType::kFloat32) {
    std::memcpy(destination, source, n * sizeof(float));
    return;
  }
  auto* halves = reinterpret_cast<uint16_t*>(destination);
  if (dtype == DataType::kFloat16) {
    Convert(source, n, halves, [](const float* s, uint16_t* d) { ToFloat16(hn::LoadU(D(), s), d); });
  } else {
    Convert(source, n, halves, [](const float* s, uint16_t* d) { ToBfloat16(hn::LoadU(D(), s), d); });
  }
}

bool AllFiniteHalves(const uint16_t* source, int64_t count, uint16_t exponent) {
  const hn::ScalableTag<uint16_t> d;
  const auto n = static_cast<size_t>(count);
  const auto bits = hn::Set(d, exponent);
  size_t i = 0;
  auto bad = hn::FirstN(d, 0);
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
    bad = hn::Or(bad, hn::Eq(hn::And(hn::LoadU(d, source + i), bits), bits));
  }
  bool finite = hn::AllFalse(d, bad);
  for (; i < n; ++i) finite = finite && (source[i] & exponent) != exponent;
  return finite;
}

void CapRow(float* row, int64_t count, float cap) {
  const D d;
  const V factor = hn::Set(d, cap);
  ForVectors(row, static_cast<size_t>(count), row, [&](const float* s, float* to) {
    const V x = hn::Div(hn::LoadU(d, s), factor);
    const V capped = hn::Mul(factor, hn::Tanh(d, x));
    hn::StoreU(hn::IfThenElse(hn::Eq(x, x), capped, x), d, to);
  });
}

void AddRow(const float* addend, int64_t count, float* row) {
  const D d;
  const auto n = static_cast<size_t>(count);
  size_t k = 0;
  for (; k + Lanes() <= n; k += Lanes()) {
    hn::StoreU(hn::Add(hn::LoadU(d, row + k), hn::LoadU(d, addend + k)), d, row + k);
  }
  for (; k < n; ++k) row[k] += addend[k];
}

void AddScaledRow(const float* addend, int64_t count, float factor, float* row) {
  const D d;
  const V scale = hn::Set(d, factor);
  const auto n = static_cast<size_t>(count);
  size_t k = 0;
  for (; k + Lanes() <= n; k += Lanes()) {
    hn::StoreU(hn::MulAdd(scale, hn::LoadU(d, addend + k), hn::LoadU(d, row + k)), d, row + k);
  }
  for (; k < n; ++k) row[k] += factor * addend[k];
}

void AddAlibiRow(float slope, int64_t distance, int64_t count, float* row) {
  const D d;
  const auto n = static_cast<size_t>(count);
  constexpr int64_t kExact = int64_t{1} << 23;  // whole numbers that float32 holds, and their differences
  if (std::abs(distance) > kExact || count > kExact) {
    for (int64_t k = 0; k < count; ++k) row[k] -= slope * static_cast<float>(std::abs(distance - k));
    return;
  }
  const V from = hn::Set(d, static_cast<float>(distance));
  const V factor = hn::Set(d, slope);
  ForVectors(row, n, row, [&, k = size_t{0}](const float* s, float* to) mutable {
    const V key = hn::Iota(d, static_cast<float>(k));
    hn::StoreU(hn::NegMulAdd(factor, hn::Abs(hn::Sub(from, key)), hn::LoadU(d, s)), d, to);
    k += Lanes();
  });
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(LoadRow);
HWY_EXPORT(StoreRow);
HWY_EXPORT(AllFiniteHalves);
HWY_EXPORT(CapRow);
HWY_EXPORT(AddRow);
HWY_EXPORT(AddScaledRow);
HWY_EXPORT(AddAlibiRow);

void LoadRow(const std::byte* source, DataType dtype, int64_t n, float* destination) {
  if (n == 0) return;  // memcpy takes no null pointers
  HWY_DYNAMIC_DISPATCH(LoadRow)(source, dtype, n, destination);
}
void StoreRow(const float* source, int64_t n, DataType dtype, std::byte* destination) {
  if (n == 0) return;  // memcpy takes no null pointers
  HWY_DYNAMIC_DISPATCH(StoreRow)(source, n, dtype, destination);
}
bool AllFiniteRow(const std::byte* source, DataType dtype, int64_t n) {
  if (dtype == DataType::kFloat32) return AllFinite(reinterpret_cast<const float*>(source), n);
  const uint16_t exponent = dtype == DataType::kFloat16 ? 0x7C00 : 0x7F80;
  return HWY_DYNAMIC_DISPATCH(AllFiniteHalves)(reinterpret_cast<const uint16_t*>(source), n, exponent);
}
void CapRow(float* row, int64_t n, float cap) { HWY_DYNAMIC_DISPATCH(CapRow)(row, n, cap); }
void AddRow(const float* addend, int64_t n, float* row) { HWY_DYNAMIC_DISPATCH(AddRow)(addend, n, row); }
void AddScaledRow(const float* addend, int64_t n, float factor, float* row) {
  HWY_DYNAMIC_DISPATCH(AddScaledRow)(addend, n, factor, row);
}
void AddAlibiRow(float slope, int64_t distance, int64_t n, float* row) {
  HWY_DYNAMIC_DISPATCH(AddAlibiRow)(slope, distance, n, row);
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
