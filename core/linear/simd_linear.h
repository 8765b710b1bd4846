// Products of rows with a matrix laid out in panels. Written once for every instruction
// set and chosen at run time. Thread-safe.
#ifndef ATTND_CORE_LINEAR_SIMD_LINEAR_H_
#define ATTND_CORE_LINEAR_SIMD_LINEAR_H_

#include <cstdint>

namespace attnd::simd {

// A matrix [in, out] in panels: panel p holds the columns [16 p, 16 p + 16) as [in][16],
// columns from `out` on being 0; panels follow each other. A line of a panel is a cache line,
// whatever the instruction set.
inline constexpr int64_t kPanelColumns = 16;

inline int64_t PanelsOf(int64_t out) { return (out + kPanelColumns - 1) / kPanelColumns; }

// y[r][c - begin] = sum_k x[r][k] W[k][c] + bias[c - begin] for begin <= c < end, as
// PackedMatrix::Multiply (packed_matrix.h) promises it.
struct PanelProduct {
  const float* x;
  int64_t x_stride;
  int64_t rows;
  // 64-byte aligned.
  const float* panels;
  int64_t in;
  int64_t begin;
  int64_t end;
  // nullptr: none.
  const float* bias;
  float* y;
  int64_t y_stride;
};

// Floats of scratch that MultiplyPanels needs for `rows` rows; 0 for few.
int64_t PanelScratch(int64_t rows, int64_t in);

// `scratch`: 64-byte aligned.
void MultiplyPanels(const PanelProduct& product, float* scratch);

}  // namespace attnd::simd

#endif  // ATTND_CORE_LINEAR_SIMD_LINEAR_H_
