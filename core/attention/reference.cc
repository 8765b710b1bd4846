#include "core/attention/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attnd {
namespace {

const float* Row(const float* base, const Strides& strides, int64_t batch, int64_t head, int64_t token) {
  return base + batch * strides.batch + head * strides.head + token * strides.token;
}

template <typename Real>
Real Dot(const float* a, const float* b, int64_t n) {
  Real sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<Real>(a[i]) * static_cast<Real>(b[i]);
  return sum;
}

}  // namespace

template <typename Real>
ReferenceResult<Real> ReferenceAttention(const AttentionPlan& plan, const AttentionData& data) {
  const Dims& dims = plan.dims;
  constexpr Real kNegInf = -std::numeric_limits<Real>::infinity();
  ReferenceResult<Real> result;
  const auto rows = static_cast<size_t>(plan.rows());
  result.output.assign(rows * static_cast<size_t>(dims.value_dim), 0);
  result.lse.assign(rows, kNegInf);
  result.weights.assign(rows * static_cast<size_t>(dims.kv_len), 0);
  size_t row = 0;
  for (int64_t b = 0; b < dims.batch; ++b) {
    for (int64_t h = 0; h < dims.heads; ++h) {
      const int64_t kv_head = h / dims.group();
      for (int64_t q = 0; q < dims.q_len; ++q, ++row) {
        Real* weights = result.weights.data() + row * static_cast<size_t>(dims.kv_len);
        Real* output = result.output.data() + row * static_cast<size_t>(dims.value_dim);
        const KeyRange seen = plan.visibility.Keys(b, q);
        Real max = kNegInf;
        for (int64_t k = seen.begin; k < seen.end; ++k) {
          weights[k] = static_cast<Real>(plan.scale) * Dot<Real>(Row(data.query, plan.query, b, h, q),
                                                                 Row(data.key, plan.key, b, kv_head, k), dims.head_dim);
          max = std::max(max, weights[k]);
        }
        // Scores of -inf alone leave nothing to weigh: as if no key were visible.
        const Real base = max == kNegInf ? 0 : max;
        Real sum = 0;
        for (int64_t k = seen.begin; k < seen.end; ++k) {
          weights[k] = std::exp(weights[k] - base);
          sum += weights[k];
        }
        if (sum == 0) continue;
        for (int64_t k = seen.begin; k < seen.end; ++k) {
          weights[k] /= sum;
          const float* value = Row(data.value, plan.value, b, kv_head, k);
          for (int64_t c = 0; c < dims.value_dim; ++c) output[c] += weights[k] * static_cast<Real>(value[c]);
        }
        result.lse[row] = base + std::log(sum);
      }
    }
  }
  return result;
}

template ReferenceResult<float> ReferenceAttention<float>(const AttentionPlan&, const AttentionData&);
template ReferenceResult<double> ReferenceAttention<double>(const AttentionPlan&, const AttentionData&);

double OutputTolerance(const AttentionPlan& plan, const AttentionData& data, const ReferenceResult<double>& exact) {
  const Dims& dims = plan.dims;
  const ReferenceResult<float> plain = ReferenceAttention<float>(plan, data);
  double plain_error = 0;
  for (size_t i = 0; i < exact.output.size(); ++i) {
    const double error = std::abs(static_cast<double>(plain.output[i]) - exact.output[i]);
    if (std::isfinite(error)) plain_error = std::max(plain_error, error);
  }
  double magnitude = 0;
  double max_value = 0;
  for (int64_t b = 0; b < dims.batch; ++b) {
    for (int64_t h = 0; h < dims.heads; ++h) {
      for (int64_t q = 0; q < dims.q_len; ++q) {
        const KeyRange seen = plan.visibility.Keys(b, q);
        for (int64_t k = seen.begin; k < seen.end; ++k) {
          const float* query = Row(data.query, plan.query, b, h, q);
          const float* key = Row(data.key, plan.key, b, h / dims.group(), k);
          double sum = 0;
          for (int64_t i = 0; i < dims.head_dim; ++i) {
            sum +=
                std::abs(static_cast<double>(plan.scale) * static_cast<double>(query[i]) * static_cast<double>(key[i]));
          }
          if (std::isfinite(sum)) magnitude = std::max(magnitude, sum);
          const float* value = Row(data.value, plan.value, b, h / dims.group(), k);
          for (int64_t i = 0; i < dims.value_dim && q + 1 == dims.q_len; ++i) {
            if (std::isfinite(value[i])) max_value = std::max(max_value, std::abs(static_cast<double>(value[i])));
          }
        }
      }
    }
  }
  return 2 * plain_error + std::ldexp(1 + magnitude, -24) * max_value;
}

}  // namespace attnd
