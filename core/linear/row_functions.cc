#include "core/linear/row_functions.h"

#include <cmath>

namespace attnd {

void LayerNormRow(const float* x, int64_t n, const float* scale, const float* shift, float epsilon, float* y) {
  float mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += x[i];
  mean /= static_cast<float>(n);
  float variance = 0;
  for (int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float d = std::sqrt(variance / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) / d * scale[i] + (shift == nullptr ? 0 : shift[i]);
}
void RmsNormRow(const float* x, int64_t n, const float* scale, float epsilon, float* y) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const float d = std::sqrt(sum / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] / d * scale[i];
}
void GeluRow(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] / 2 * (1 + std::erf(x[i] * 0.70710678F));
}
void GeluTanhRow(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    x[i] = x[i] / 2 * (1 + std::tanh(0.79788456F * (x[i] + 0.044715F * x[i] * x[i] * x[i])));
  }
}
void ReluRow(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0 ? 0 : x[i];
}
void SwigluRow(const float* gate, int64_t n, float* up) {
  for (int64_t i = 0; i < n; ++i) up[i] *= gate[i] / (1 + std::exp(-gate[i]));
}
void AddRow(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace attnd
