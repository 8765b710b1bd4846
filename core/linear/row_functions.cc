#include "core/linear/row_functions.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/linear/row_functions.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_floats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace inl = simd::HWY_NAMESPACE;
using D = inl::FullTag;
using V = hn::Vec<D>;

constexpr size_t kMostLanes = HWY_MAX_BYTES / sizeof(float);
HWY_INLINE size_t Lanes() { return hn::Lanes(D()); }
HWY_INLINE V Constant(float x) { return hn::Set(D(), x); }

// n < Lanes() floats and zeros behind them, and back.
HWY_INLINE V LoadPart(const float* from, size_t n) {
  HWY_ALIGN float part[kMostLanes] = {};
  std::copy(from, from + n, part);
  return hn::Load(D(), part);
}
HWY_INLINE void StorePart(V v, float* to, size_t n) {
  HWY_ALIGN float part[kMostLanes];
  hn::Store(v, D(), part);
  std::copy(part, part + n, to);
}

// y[i] = op(x[i]...), one vector at a time; y may be one of them.
template <class Op, typename... Rows>
HWY_INLINE void ForRow(int64_t count, float* y, const Op& op, const Rows*... x) {
  const D d;
  const auto n = static_cast<size_t>(count);
  size_t i = 0;
  for (; i + Lanes() <= n; i += Lanes()) hn::StoreU(op(hn::LoadU(d, x + i)...), d, y + i);
  if (i < n) StorePart(op(LoadPart(x + i, n - i)...), y + i, n - i);
}

// The sum of term(x[i]): four sums over the vectors by turns, then over them and their lanes,
// which is an order that n alone decides.
template <class Term>
HWY_INLINE float SumRow(const float* x, size_t n, const Term& term) {
  const D d;
  V s0 = hn::Zero(d);
  V s1 = s0;
  V s2 = s0;
  V s3 = s0;
  size_t i = 0;
  for (; i + 4 * Lanes() <= n; i += 4 * Lanes()) {
    s0 = hn::Add(s0, term(hn::LoadU(d, x + i)));
    s1 = hn::Add(s1, term(hn::LoadU(d, x + i + Lanes())));
    s2 = hn::Add(s2, term(hn::LoadU(d, x + i + 2 * Lanes())));
    s3 = hn::Add(s3, term(hn::LoadU(d, x + i + 3 * Lanes())));
  }
  for (; i + Lanes() <= n; i += Lanes()) s0 = hn::Add(s0, term(hn::LoadU(d, x + i)));
  if (i < n) s1 = hn::Add(s1, hn::IfThenElseZero(hn::FirstN(d, n - i), term(LoadPart(x + i, n - i))));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

void LayerNorm(const float* x, int64_t count, const float* scale, const float* shift, float epsilon, float* y) {
  const auto n = static_cast<size_t>(count);
  const auto divisor = static_cast<float>(count);
  const float mean = SumRow(x, n, [](V v) HWY_ATTR { return v; }) / divisor;
  const V m = Constant(mean);
  // What rounding has left in the mean, large beside the deviations when all x are alike.
  const float rest = SumRow(x, n, [m](V v) HWY_ATTR { return hn::Sub(v, m); }) / divisor;
  const V r = Constant(rest);
  const auto deviation = [m, r](V v) HWY_ATTR { return hn::Sub(hn::Sub(v, m), r); };
  const float variance = SumRow(x, n,
                                [deviation](V v) HWY_ATTR {
                                  const V t = deviation(v);
                                  return hn::Mul(t, t);
                                }) /
                         divisor;
  const V factor = Constant(1.0F / std::sqrt(variance + epsilon));
  if (shift == nullptr) {
    ForRow(
        count, y, [=](V v, V s) HWY_ATTR { return hn::Mul(hn::Mul(deviation(v), factor), s); }, x, scale);
  } else {
    ForRow(
        count, y, [=](V v, V s, V b) HWY_ATTR { return hn::MulAdd(hn::Mul(deviation(v), factor), s, b); }, x, scale,
        shift);
  }
}

void RmsNorm(const float* x, int64_t count, const float* scale, float epsilon, float* y) {
  const auto n = static_cast<size_t>(count);
  const float square = SumRow(x, n, [](V v) HWY_ATTR { return hn::Mul(v, v); }) / static_cast<float>(count);
  const V factor = Constant(1.0F / std::sqrt(square + epsilon));
  ForRow(
      count, y, [factor](V v, V s) HWY_ATTR { return hn::Mul(hn::Mul(v, factor), s); }, x, scale);
}

// max(x, 0) - a Q(a) with a = |x| and Q(a) = erfc(a / sqrt(2)) / 2, the normal distribution's
// upper tail: no cancellation on either side. Q(a) = exp(-a^2 / 2) N(a) / D(a), where N / D has
// degrees 4 and 5 and the least relative error on [0, 14], 6e-9; beyond, the exponential is 0.
HWY_INLINE V Gelu(V x) {
  const D d;
  // Keeps NaN.
  const V a = hn::Neg(inl::AtLeast(d, hn::Neg(hn::Abs(x)), -14.0F));
  V n = Constant(4.0775994e-3F);
  n = hn::MulAdd(n, a, Constant(4.0372480e-2F));
  n = hn::MulAdd(n, a, Constant(1.8246160e-1F));
  n = hn::MulAdd(n, a, Constant(4.3725058e-1F));
  n = hn::MulAdd(n, a, Constant(5.0000000e-1F));
  V q = Constant(1.0220897e-2F);
  q = hn::MulAdd(q, a, Constant(1.0120561e-1F));
  q = hn::MulAdd(q, a, Constant(4.6742851e-1F));
  q = hn::MulAdd(q, a, Constant(1.1992898F));
  q = hn::MulAdd(q, a, Constant(1.6723862F));
  q = hn::MulAdd(q, a, Constant(1.0F));
  const V e = inl::ExpNonPositive(d, hn::Mul(hn::Mul(a, a), Constant(-0.5F)));
  const V tail = hn::Div(hn::Mul(hn::Mul(a, n), e), q);
  return hn::Sub(inl::AtLeast(d, x, 0.0F), tail);
}

// x / (1 + exp(-z)), 0 where z and x are -infinity.
HWY_INLINE V TimesSigmoid(V x, V z) {
  const D d;
  const V e = inl::ExpNonPositive(d, hn::Neg(hn::Abs(z)));
  const V upper = hn::IfThenElse(hn::Lt(z, hn::Zero(d)), e, Constant(1.0F));
  // Below -100 the sigmoid is 0 for all z that are used.
  return hn::Mul(inl::AtLeast(d, x, -100.0F), hn::Div(upper, hn::Add(e, Constant(1.0F))));
}

// (1 + tanh(u)) / 2 is the sigmoid of 2 u.
HWY_INLINE V GeluTanh(V x) {
  const V cubic = hn::MulAdd(hn::Mul(x, x), Constant(0.044715F), Constant(1.0F));
  return TimesSigmoid(x, hn::Mul(hn::Mul(x, Constant(1.59576912F)), cubic));
}

void GeluAll(float* x, int64_t n) {
  ForRow(
      n, x, [](V v) HWY_ATTR { return Gelu(v); }, x);
}
void GeluTanhAll(float* x, int64_t n) {
  ForRow(
      n, x, [](V v) HWY_ATTR { return GeluTanh(v); }, x);
}
void Relu(float* x, int64_t n) {
  ForRow(
      n, x, [](V v) HWY_ATTR { return inl::AtLeast(D(), v, 0.0F); }, x);
}
void Swiglu(const float* gate, int64_t n, float* up) {
  ForRow(
      n, up, [](V u, V g) HWY_ATTR { return hn::Mul(TimesSigmoid(g, g), u); }, up, gate);
}
void Add(const float* x, int64_t n, float* y) {
  ForRow(
      n, y, [](V a, V b) HWY_ATTR { return hn::Add(a, b); }, y, x);
}

}  // namespace attnd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd {

HWY_EXPORT(LayerNorm);
HWY_EXPORT(RmsNorm);
HWY_EXPORT(GeluAll);
HWY_EXPORT(GeluTanhAll);
HWY_EXPORT(Relu);
HWY_EXPORT(Swiglu);
HWY_EXPORT(Add);

void LayerNormRow(const float* x, int64_t n, const float* scale, const float* shift, float epsilon, float* y) {
  HWY_DYNAMIC_DISPATCH(LayerNorm)(x, n, scale, shift, epsilon, y);
}
void RmsNormRow(const float* x, int64_t n, const float* scale, float epsilon, float* y) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, n, scale, epsilon, y);
}
void GeluRow(float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(GeluAll)(x, n); }
void GeluTanhRow(float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(GeluTanhAll)(x, n); }
void ReluRow(float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(Relu)(x, n); }
void SwigluRow(const float* gate, int64_t n, float* up) { HWY_DYNAMIC_DISPATCH(Swiglu)(gate, n, up); }
void AddRow(const float* x, int64_t n, float* y) { HWY_DYNAMIC_DISPATCH(Add)(x, n, y); }

}  // namespace attnd
#endif  // HWY_ONCE
