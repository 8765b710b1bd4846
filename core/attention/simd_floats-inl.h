// Lanes of float32 and the arithmetic that several vector loops share, for every instruction set.
// NOLINTNEXTLINE(llvm-header-guard): the guard opens once per instruction set.
#if defined(ATTND_CORE_ATTENTION_SIMD_FLOATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTND_CORE_ATTENTION_SIMD_FLOATS_INL_H_
#undef ATTND_CORE_ATTENTION_SIMD_FLOATS_INL_H_
#else
#define ATTND_CORE_ATTENTION_SIMD_FLOATS_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FullTag = hn::ScalableTag<float>;
constexpr size_t kLanes = hn::MaxLanes(FullTag());
// Of the narrowest strip: half a vector where that is worth it.
using HalfTag = hn::CappedTag<float, kLanes >= 16 ? kLanes / 2 : kLanes>;

// Whether MulAdd rounds once. On x86 it does from AVX2 on; better targets are smaller numbers.
constexpr bool kFusedMultiplyAdd = HWY_ARCH_X86 ? HWY_TARGET <= HWY_AVX2 : HWY_ARCH_ARM_A64 != 0;

// x / divisor by the divisor's reciprocal and one correction, which leaves the error of a
// division (Markstein, IBM J. Res. Dev. 34(1), 1990) and takes half its time.
template <class V>
HWY_INLINE V Quotient(V x, V divisor, V reciprocal) {
  if constexpr (!kFusedMultiplyAdd) return hn::Div(x, divisor);
  const V quotient = hn::Mul(x, reciprocal);
  const V corrected = hn::MulAdd(hn::NegMulAdd(quotient, divisor, x), reciprocal, quotient);
  // Of an infinite quotient the correction is NaN.
  return hn::IfThenElse(hn::Eq(corrected, corrected), corrected, quotient);
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ATTND_CORE_ATTENTION_SIMD_FLOATS_INL_H_
