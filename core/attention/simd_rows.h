// Row loops beside the softmax: conversion between element types and the steps that bring
// raw scores to the formula's later stages. Chosen at run time as in simd.h. Pointers need
// no alignment. Thread-safe.
#ifndef ATTND_CORE_ATTENTION_SIMD_ROWS_H_
#define ATTND_CORE_ATTENTION_SIMD_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "core/attention/tensor.h"

namespace attnd::simd {

// destination[i] = source[i] as float32, exactly. REQUIRES: `dtype` is one for numbers.
void LoadRow(const std::byte* source, DataType dtype, int64_t n, float* destination);

// destination[i] = source[i] as `dtype`, rounded to nearest even; NaN stays NaN.
void StoreRow(const float* source, int64_t n, DataType dtype, std::byte* destination);

// Whether none of the elements is NaN or infinite. REQUIRES: as LoadRow.
bool AllFiniteRow(const std::byte* source, DataType dtype, int64_t n);

// row[k] = cap * tanh(row[k] / cap). REQUIRES: cap > 0.
void CapRow(float* row, int64_t n, float cap);

// row[k] += addend[k].
void AddRow(const float* addend, int64_t n, float* row);

// row[k] += factor * addend[k].
void AddScaledRow(const float* addend, int64_t n, float factor, float* row);

// row[k] -= slope * |distance - k|.
void AddAlibiRow(float slope, int64_t distance, int64_t n, float* row);

}  // namespace attnd::simd

#endif  // ATTND_CORE_ATTENTION_SIMD_ROWS_H_
