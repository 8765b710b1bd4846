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

// Bits [rows, n], `stride` bytes from row to row, become words of 32 bits [n / 32, width]: bit j of
// words[i, r] is bit 32 i + j of row r. Columns from `rows` on are 0. Bits are least significant
// first; n is rounded up to a multiple of 32, as far as which rows must be readable.
void BitsToStrip(const uint8_t* bits, int64_t stride, int64_t rows, int64_t width, int64_t n, uint32_t* words);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_TRANSPOSE_H_
