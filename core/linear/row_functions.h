// What a layer does to rows of floats beside multiplying them: norms, nonlinearities,
// residuals. Written once for every instruction set and chosen at run time. A row's bits
// depend on the row and the instruction set alone: sums have one order for each length, and
// what is done to an element does not depend on its place. NaN in gives NaN out. Pointers
// need no alignment. Thread-safe.
#ifndef ATTND_CORE_LINEAR_ROW_FUNCTIONS_H_
#define ATTND_CORE_LINEAR_ROW_FUNCTIONS_H_

#include <cstdint>

namespace attnd {

// y[i] = (x[i] - mean) / sqrt(variance + epsilon) * scale[i] + shift[i], the variance being
// that of the n elements (not n - 1); y may be x; `shift` may be nullptr. n >= 1.
// Ba et al., arXiv 1607.06450.
void LayerNormRow(const float* x, int64_t n, const float* scale, const float* shift, float epsilon, float* y);

// y[i] = x[i] / sqrt(mean(x^2) + epsilon) * scale[i]; y may be x. n >= 1.
// Zhang & Sennrich, arXiv 1910.07467.
void RmsNormRow(const float* x, int64_t n, const float* scale, float epsilon, float* y);

// x[i] = x[i] / 2 (1 + erf(x[i] / sqrt(2))). Hendrycks & Gimpel, arXiv 1606.08415.
// Within 1.5e-7 |x[i]|, as are the two other functions with an exponential; infinity stays,
// -infinity becomes 0.
void GeluRow(float* x, int64_t n);

// x[i] = x[i] / 2 (1 + tanh(sqrt(2 / pi) (x[i] + 0.044715 x[i]^3))).
void GeluTanhRow(float* x, int64_t n);

// x[i] = max(x[i], 0); NaN stays.
void ReluRow(float* x, int64_t n);

// up[i] = gate[i] / (1 + exp(-gate[i])) * up[i]. Shazeer, arXiv 2002.05202.
void SwigluRow(const float* gate, int64_t n, float* up);

// y[i] += x[i].
void AddRow(const float* x, int64_t n, float* y);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_ROW_FUNCTIONS_H_
