// The products of few query rows, where reading keys and values is the work: vectors lie
// along head_dim, 16-bit tokens are converted in registers. Chosen at run time as in simd.h.
// The bits of a row's results depend on its own numbers only: not on the rows computed with
// it, nor on where a run of tokens begins or ends. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_THIN_H_
#define ATTND_CORE_ATTENTION_SIMD_THIN_H_

#include <cstdint>

#include "core/attention/float_rows.h"

namespace attnd::simd {

// Rows of floats, `stride` from one to the next: a multiple of kRowMultiple that is at least
// a row's length rounded up to one.
struct ConstRows {
  const float* data;
  int64_t stride;
  int64_t rows;
};
struct MutableRows {
  float* data;
  int64_t stride;
};

// scores[r, k - begin] = query_r . token_k for tokens [begin, end). REQUIRES: query rows are
// 0 behind tokens.dim up to a multiple of kRowMultiple.
void DotRows(const ConstRows& query, const TokenRows& tokens, int64_t begin, int64_t end, const MutableRows& scores);

// acc[r] += the sum of p[r, k - begin] token_k for tokens [begin, end). REQUIRES: acc is
// 64-byte aligned. What lies behind tokens.dim in acc is not kept.
void AddWeightedRows(const ConstRows& p, const TokenRows& tokens, int64_t begin, int64_t end, const MutableRows& acc);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_THIN_H_
