// The arithmetic of the fused engine. A strip is a few query rows side by side in the lanes
// of vectors: whatever belongs to a strip is transposed, [.., width] with a row in each
// column. So keys and values are read as they lie in memory, one float at a time for all
// rows, softmax needs no sums across lanes, and the bits of a row depend on nothing but
// the row. What is left of a width beyond the rows is computed and forgotten.
//
// Strips are aligned as vectors are. Chosen at run time as in simd.h. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_STRIP_H_
#define ATTND_CORE_ATTENTION_SIMD_STRIP_H_

#include <cstdint>

#include "core/attention/float_rows.h"

namespace attnd::simd {

// Largest width there is.
inline constexpr int64_t kMaxStripWidth = 64;

// Rows of a full strip on this machine.
int64_t FullStripWidth();
// The width to compute `rows` rows with, 0 < rows <= FullStripWidth(): the least that holds them.
int64_t StripWidth(int64_t rows);

// scores[k, r] = scale times the sum over i < dim of key k's element i times query[i, r], i
// ascending, for k < keys. Raises max[r] to the largest of them; NaN does not count.
// As many bytes as the keys have are brought nearer from `soon` on, on the way: a hint, which
// need not be memory.
void StripScores(const float* query, int64_t width, int64_t dim, float scale, const FloatRows& key, int64_t keys,
                 float* scores, float* max, const float* soon = nullptr);

// scores[k, r] = -inf where not begin[r] <= first + k < end[r], for k < keys. Raises max[r] to the
// largest of the others.
void StripHideOutside(const int32_t* begin, const int32_t* end, int64_t width, int64_t first, int64_t keys,
                      float* scores, float* max);

// The same where bit k % 32 of visible[k / 32, r] is 0; words of a strip need not be aligned.
void StripHideByBits(const uint32_t* visible, int64_t width, int64_t keys, float* scores, float* max);

// Raises max[r] to the largest scores[k, r], k < keys.
void StripMax(int64_t width, int64_t keys, const float* scores, float* max);

// Running softmax of a strip (Milakov & Gimelshein, arXiv 1805.02867), each [width].
struct StripState {
  float* max;    // of the scores so far
  float* sum;    // of exp(score - max) so far
  float* alpha;  // what the last block made of older sums: exp(old max - max)
};

// Brings the state forward by a block: max takes block_max in, sum is rescaled and grows by the
// sum of p = exp(score - max), and scores are replaced by p; 0 for a score of -inf. NaN in
// scores reaches sum.
void StripSoftmax(int64_t width, int64_t keys, const float* block_max, float* scores, const StripState& state);

// The same, with the sum of p (score - max) so far, [width], which gives the entropy: of weights
// p / sum it is ln(sum) - moment / sum.
void StripSoftmaxMoment(int64_t width, int64_t keys, const float* block_max, float* scores, const StripState& state,
                        float* moment);

// acc[c, r] = alpha[r] acc[c, r] + sum over k < keys of value k's element c times p[k, r], k
// ascending; without alpha, acc is taken as 0 and need not be set. `soon` as above.
void StripAddValues(const float* p, int64_t width, int64_t keys, const FloatRows& value, int64_t dim,
                    const float* alpha, float* acc, const float* soon = nullptr);

// acc[c, r] = keep[r] acc[c, r] / sum[r] for c < dim, 0 where sum[r] is 0. Returns a bit per row,
// row 0 the lowest, 1 where some result is not finite. REQUIRES: sum is NaN, 0 or in [2^-100, 2^100].
uint64_t StripDivide(const float* keep, const float* sum, int64_t width, int64_t dim, float* acc);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_STRIP_H_
