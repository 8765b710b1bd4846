// Rows of visibility: a bit per key, least significant first, 1 where the key may be seen.
// Keep... takes bits away and leaves those behind `n` alone. Chosen at run time as in simd.h.
// Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_BITS_H_
#define ATTND_CORE_ATTENTION_SIMD_BITS_H_

#include <cstddef>
#include <cstdint>

#include "core/attention/tensor.h"

namespace attnd::simd {

// Rows of bits, `stride` bytes from one to the next.
struct BitRows {
  uint8_t* bits;
  int64_t stride;
  int64_t rows;
};

// Elements that rows of bits are about: those of row r are `offset` bytes behind rows[r].
struct ElementRows {
  const std::byte* const* rows;
  int64_t offset;
};

// Keeps keys whose byte is not 0 (`keep`) or is 0 (not `keep`).
void KeepByBool(const ElementRows& mask, int64_t n, bool keep, const BitRows& bits);

// Keeps keys whose bit is 1 (`keep`) or 0 (not `keep`).
void KeepByBit(const ElementRows& mask, int64_t n, bool keep, const BitRows& bits);

// Keeps keys whose bias is not -inf. REQUIRES: `dtype` is one for numbers.
void KeepAboveMinusInfinity(const ElementRows& bias, DataType dtype, int64_t n, const BitRows& bits);

// Keeps keys whose id is `id`, in one row.
void KeepEqual(const int32_t* ids, int64_t n, int32_t id, uint8_t* bits);

// Bits that are 1 in `bytes` bytes, a multiple of 8.
int64_t CountBits(const uint8_t* bits, int64_t bytes);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_BITS_H_
