// Sums over rows of attention weights, for statistics. Chosen at run time as in simd.h.
// Pointers need no alignment. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_WEIGHTS_H_
#define ATTND_CORE_ATTENTION_SIMD_WEIGHTS_H_

#include <cstdint>

namespace attnd::simd {

// Of a run of a row's weights w.
struct WeightSums {
  float total;     // sum w
  float distance;  // sum w[k] |distance - k|
  float largest;   // 0 if there is none
};

// The sums of w[k], k < n, all >= 0; adds w to columns.
WeightSums SumWeights(const float* w, int64_t n, int64_t distance, float* columns);

// Sum and maximum of w[k] >= 0, k < n; 0 if there is none.
struct SumAndMax {
  float sum;
  float max;
};
SumAndMax PoolWeights(const float* w, int64_t n);

// SumWeights for the rows of a strip (simd_strip.h) and a block of keys, p being [keys, width] and
// a row's sums in its place; all but p and columns are aligned as strips are.
struct StripWeights {
  const float* factor;    // [width]
  const float* distance;  // [width]: of key 0 of the block
  float* total;           // [width]
  float* moment;          // [width]: the sum w |distance - k|
  float* largest;         // [width]
};
void SumStripWeights(const float* p, int64_t width, int64_t keys, const StripWeights& sums);

// columns[h, k] += sum over the rows r with 1, not 0, in heads[h, r] of factor[r] p[k, r], for k < keys.
struct StripColumns {
  const float* factor;  // [width]
  const float* heads;   // [count, width]
  int64_t count;
  float* columns;  // [count, stride]
  int64_t stride;
};
void AddStripColumns(const float* p, int64_t width, int64_t keys, const StripColumns& columns);

// -sum w ln w, where 0 ln 0 is 0.
float EntropyOf(const float* weights, int64_t n);

// The first i in [begin, n) with row[i] > bound; n if there is none.
int64_t FirstAbove(const float* row, int64_t begin, int64_t n, float bound);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_WEIGHTS_H_
