// Between rows as tensors have them and strips (simd_strip.h), where a row is a column.
// Chosen at run time as in simd.h. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_TRANSPOSE_H_
#define ATTND_CORE_ATTENTION_SIMD_TRANSPOSE_H_

#include <cstdint>

namespace attnd::simd {

// Elements by which rows may be read, and written, in whole: n below is rounded up to it.
inline constexpr int64_t kTransposeMultiple = 4;

// strip[i, r] = rows[r * stride + i] for r < width and i < n.
void RowsToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip);

// strip[i, r] += rows[r * stride + i].
void AddRowsToStrip(const float* rows, int64_t stride, int64_t width, int64_t n, float* strip);

// rows[r * stride + i] = strip[i, r].
void StripToRows(const float* strip, int64_t width, int64_t n, float* rows, int64_t stride);

// Bits [rows, n], `stride` bytes from row to row, become [n, kMaxStripWidth]; columns from `rows`
// to `width` are 0, and those beyond are left alone in whole bytes. Bits are least
// significant first; n is rounded up to a multiple of 8.
void TransposeBits(const uint8_t* bits, int64_t stride, int64_t rows, int64_t width, int64_t n, uint8_t* transposed);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_TRANSPOSE_H_
