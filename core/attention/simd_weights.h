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

// The sums of w[k] = factor * p[k], k < n, all >= 0; adds w to columns.
WeightSums SumWeights(const float* p, int64_t n, float factor, int64_t distance, float* columns);

// -sum w ln w, where 0 ln 0 is 0.
float EntropyOf(const float* weights, int64_t n);

// The first i in [begin, n) with row[i] > bound; n if there is none.
int64_t FirstAbove(const float* row, int64_t begin, int64_t n, float bound);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_WEIGHTS_H_
