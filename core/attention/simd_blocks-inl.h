// Blocks of registers: how loops over keys, or columns, are cut so that each has a fixed number of
// accumulators, for the strip kernels of every instruction set.
// NOLINTNEXTLINE(llvm-header-guard): the guard opens once per instruction set.
#if defined(ATTND_CORE_ATTENTION_SIMD_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTND_CORE_ATTENTION_SIMD_BLOCKS_INL_H_
#undef ATTND_CORE_ATTENTION_SIMD_BLOCKS_INL_H_
#else
#define ATTND_CORE_ATTENTION_SIMD_BLOCKS_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

// Calls Block's Run<S, n> with n = `rows`, which is at most kMost.
template <class Block, class S, size_t kMost, typename... Args>
HWY_INLINE void RunRows(size_t rows, const Args&... args) {
  if constexpr (kMost > 0) {
    if (rows == kMost) {
      Block::template Run<S, kMost>(args...);
    } else {
      RunRows<Block, S, kMost - 1>(rows, args...);
    }
  }
}

// Cuts `count` things into runs of nearly equal length, at most S::kRows: begin of run i of n.
HWY_INLINE size_t RunBegin(size_t count, size_t i, size_t n) { return count * i / n; }
template <class S>
HWY_INLINE size_t RunsOf(size_t count) {
  return (count + S::kRows - 1) / S::kRows;
}

// Into the second cache: the first one is full of the strip.
HWY_INLINE void BringNearer(const void* memory) { __builtin_prefetch(memory, 0, 2); }

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ATTND_CORE_ATTENTION_SIMD_BLOCKS_INL_H_
