// Products of strips (simd_strip.h) of 8 rows, which groups of query heads that share keys often
// make. In half a wide vector, so narrow a strip would need a load for every multiply-add; here
// it takes two vectors, whose lanes are (row, parity): one load brings two neighbours, of a key or
// of a value, to both. Tokens are float32, or bfloat16, which is converted in registers: of
// float16, that takes longer than to convert a block of tokens beforehand.
//
// Chosen at run time as in simd.h. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_PAIRS_H_
#define ATTND_CORE_ATTENTION_SIMD_PAIRS_H_

#include <cstddef>
#include <cstdint>

#include "core/attention/float_rows.h"

namespace attnd::simd {

inline constexpr int64_t kPairWidth = 8;

// Whether strips of `width` are computed in pairs on this machine. REQUIRED by what follows.
bool InPairs(int64_t width);

// Whether tokens of this type can be read as they lie in memory.
constexpr bool PairsRead(DataType dtype) { return dtype == DataType::kFloat32 || dtype == DataType::kBfloat16; }

// A query strip [dim, 8] becomes pairs [(dim + 1) / 2, 8, 2], in place; 0 for what is not there.
void StripToPairs(int64_t dim, float* query);

// scores[k - begin, r] = scale times the product of token k and query row r, for tokens
// [begin, end): even elements and odd ones are summed apart, in order. Raises max[r] to the
// largest of them; NaN does not count. As many bytes as the tokens have are brought nearer from
// `soon` on, on the way: a hint, which need not be memory; nullptr for none.
void PairScores(const float* query, float scale, const TokenRows& keys, int64_t begin, int64_t end, float* scores,
                float* max, const std::byte* soon);

// acc[c, r] = alpha[r] acc[c, r] + sum over tokens k in [begin, end), in order, of element c times
// p[k - begin, r]; without alpha, acc is taken as 0 and need not be set. `soon` as above.
void PairAddValues(const float* p, const TokenRows& values, int64_t begin, int64_t end, const float* alpha, float* acc,
                   const std::byte* soon);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_PAIRS_H_
