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

// max(x, low), NaN for NaN.
template <class D, class V>
HWY_INLINE V AtLeast(D d, V x, float low) {
  const V bound = hn::Set(d, low);
  // Of NaN and a number, this instruction gives the second; other machines' give the number.
  if constexpr (HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128) return hn::Max(bound, x);
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
}

// exp(x) for x <= 0 or NaN, with a relative error below 2^-22, exactly 1 for 0; 0 below -87.7.
// x = n ln2 + r with n rounded by adding 1.5 * 2^23 (and the exponent's bias, so that the sum's
// low bits are that of 2^n) and ln2 in two parts, the first short enough for exact products;
// then the polynomial of degree 6 that begins 1 + r and has the least relative error for
// |r| <= ln2 / 2.
template <class D, class V>
HWY_INLINE V ExpNonPositive(D d, V x) {
  const hn::RebindToSigned<D> di;
  x = AtLeast(d, x, -88.03F);
  const V magic = hn::Set(d, 12582912.0F + 127.0F);
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504F), magic);
  const V n = hn::Sub(shifted, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375F), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4F), r);
  V p = hn::Set(d, 1.3814598788e-3F);
  p = hn::MulAdd(p, r, hn::Set(d, 8.3687165752e-3F));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1668388993e-2F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666521132e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 4.9999994040e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  // A product, not an addition to the bits: NaN must stay NaN.
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

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
