// How a strip (simd_strip.h) lies in vectors, for the kernels of every instruction set.
// NOLINTNEXTLINE(llvm-header-guard): the guard opens once per instruction set.
#if defined(ATTND_CORE_ATTENTION_SIMD_SHAPES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTND_CORE_ATTENTION_SIMD_SHAPES_INL_H_
#undef ATTND_CORE_ATTENTION_SIMD_SHAPES_INL_H_
#else
#define ATTND_CORE_ATTENTION_SIMD_SHAPES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
//
#include "core/attention/simd_floats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr bool kManyRegisters = HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64;

// How a strip lies in vectors: kCount of them, each of D's lanes.
template <class DF, size_t kCount>
struct Shape {
  using D = DF;
  using V = hn::Vec<DF>;
  static constexpr size_t kVectors = kCount;
  static constexpr size_t kVectorLanes = hn::MaxLanes(DF());
  static constexpr size_t kWidth = kVectors * kVectorLanes;
  // Keys, or columns of values, that a block of registers holds beside the vectors of the
  // strip: enough accumulators to hide the latency of multiply-adds, few enough to stay in
  // registers and to have a pointer each.
  static constexpr size_t kRows = kManyRegisters ? (kCount == 1 ? 12 : 8) : (kCount == 1 ? 8 : 12 / kCount);
};

constexpr size_t kFullVectors = kManyRegisters ? 2 : 3;

// Runs Kernel's Run for the shape of `width`.
template <class Kernel, typename... Args>
HWY_INLINE void ForShape(int64_t width, const Args&... args) {
  switch (width / static_cast<int64_t>(kLanes)) {
    case 0:
      Kernel::template Run<Shape<HalfTag, 1>>(args...);
      break;
    case 1:
      Kernel::template Run<Shape<FullTag, 1>>(args...);
      break;
    case 2:
      Kernel::template Run<Shape<FullTag, 2>>(args...);
      break;
    default:
      Kernel::template Run<Shape<FullTag, kFullVectors>>(args...);
  }
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ATTND_CORE_ATTENTION_SIMD_SHAPES_INL_H_
