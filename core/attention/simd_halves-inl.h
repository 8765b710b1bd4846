// 16-bit elements as vectors of float32, for the vector loops of every instruction set.
// NOLINTNEXTLINE(llvm-header-guard): the guard opens once per instruction set.
#if defined(ATTND_CORE_ATTENTION_SIMD_HALVES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTND_CORE_ATTENTION_SIMD_HALVES_INL_H_
#undef ATTND_CORE_ATTENTION_SIMD_HALVES_INL_H_
#else
#define ATTND_CORE_ATTENTION_SIMD_HALVES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Halves = hn::Rebind<uint16_t, Floats>;

// Where there is no instruction for it (on x86 before AVX2; better targets are smaller
// numbers), Highway knows neither infinities nor rounding.
constexpr bool kFloat16ByHand =
    (HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2) || HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR;
constexpr uint32_t kInfinityBits = 0x7F800000;

HWY_INLINE hn::Vec<Floats> FromBfloat16(const uint16_t* source) {
  const hn::RebindToUnsigned<Floats> du;
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(Halves(), source))));
}

HWY_INLINE hn::Vec<Floats> FromFloat16(const uint16_t* source) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  if constexpr (!kFloat16ByHand) {
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, Floats>(), hn::LoadU(Halves(), source)));
  }
  const auto half = hn::PromoteTo(du, hn::LoadU(Halves(), source));
  const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000)));
  // In float32's places; the factor makes up for its larger bias, below the normal numbers too.
  const auto shifted = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7FFF)));
  const auto number = hn::BitCast(du, hn::Mul(hn::BitCast(d, shifted), hn::Set(d, 0x1p112F)));
  const auto special = hn::Gt(shifted, hn::Set(du, 0x0F7FFFFF));
  const auto magnitude = hn::IfThenElse(special, hn::Or(shifted, hn::Set(du, kInfinityBits)), number);
  return hn::BitCast(d, hn::Or(magnitude, sign));
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ATTND_CORE_ATTENTION_SIMD_HALVES_INL_H_
