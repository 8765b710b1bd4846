// The vector loops around the matrix products, written once for every instruction set
// and chosen at run time. Pointers need no alignment unless said. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_H_
#define ATTND_CORE_ATTENTION_SIMD_H_

#include <cstdint>

#include "core/attention/visibility.h"

namespace attnd::simd {

// Floats per cache line; rows of scratch are padded to a multiple of it.
inline constexpr int64_t kRowMultiple = 16;

// destination[i] = factor * source[i]; the two may be the same.
void ScaleRow(const float* source, int64_t n, float factor, float* destination);

// Running softmax of one tile: per row the maximum m seen so far and l = sum exp(s - m),
// with acc = sum exp(s - m) v beside it (Milakov & Gimelshein, arXiv 1805.02867).
struct RowState {
  float* max;  // [rows]
  float* sum;  // [rows]
  float* acc;  // [rows, acc_stride], 64-byte aligned
  int64_t acc_stride;
};

// A block of scores [rows, keys], row stride a multiple of kRowMultiple that is at least
// `keys` rounded up to one; 64-byte aligned. What lies behind `keys` may be overwritten.
struct ScoreBlock {
  float* scores;
  int64_t stride;
  int64_t rows;
  int64_t keys;
  // Per row the visible keys within the block, 0 <= begin <= end <= keys; nullptr if all
  // are, or `bits` says.
  const KeyRange* visible;
  // Factor on the scores.
  float scale = 1;
  // Per row a bit per key, least significant first, 1 where visible; readable 8 bytes
  // beyond. nullptr if `visible` says.
  const uint8_t* bits = nullptr;
  // In bytes.
  int64_t bits_stride = 0;
};

// Brings the state forward by a block, s being its scores times its scale: m' = max(m, max s), acc and l scaled by
// exp(m - m'), l increased by the sum of p = exp(s - m'), and scores replaced by p (0 where
// not visible). The product p V is left to the caller. NaN in visible scores reaches l.
void SoftmaxBlock(const ScoreBlock& block, const RowState& state);

// acc[row] += p[row, k] * value[k] over the row's visible keys only: the slow way, which
// never touches values that a row does not see.
void AccumulateVisible(const ScoreBlock& block, const float* value, int64_t value_stride, int64_t value_dim,
                       const RowState& state);

// destination[k] = exp(scores[k] - max) / sum for k < keys; the two may be the same. `scores`
// as a ScoreBlock row.
void WeightsRow(const float* scores, int64_t keys, float max, float sum, float* destination);

// destination[i] = source[i] / divisor; the two may be the same. Returns whether all results
// are finite.
bool DivideRow(const float* source, int64_t n, float divisor, float* destination);

// Whether none of the elements is NaN or infinite.
bool AllFinite(const float* values, int64_t n);

// Name of the instruction set chosen for this machine, as Highway calls it.
const char* TargetName();

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_H_
