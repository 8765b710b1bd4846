#include "core/attention/row_results.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

// A logit that takes part in the denominator only: m' = max(m, s), l' = l exp(m - m') +
// exp(s - m'), and the accumulated values follow the maximum.
void AddSink(float sink, int64_t r, int64_t value_dim, const simd::RowState& state) {
  if (sink == kNegInf) return;
  const float max = std::max(state.max[r], sink);
  const float keep = std::exp(state.max[r] - max);
  state.sum[r] = state.sum[r] * keep + std::exp(sink - max);
  state.max[r] = max;
  float* acc = state.acc + r * state.acc_stride;
  simd::ScaleRow(acc, value_dim, keep, acc);
}

// acc / sum as the output's type; returns whether all of it is finite.
bool WriteOutputRow(float* acc, int64_t n, float sum, DataType dtype, std::byte* output) {
  if (dtype == DataType::kFloat32) return simd::DivideRow(acc, n, sum, reinterpret_cast<float*>(output));
  // A quotient that float32 holds may be infinite in a smaller type.
  (void)simd::DivideRow(acc, n, sum, acc);
  simd::StoreRow(acc, n, dtype, output);
  simd::LoadRow(output, dtype, n, acc);
  return simd::AllFinite(acc, n);
}

}  // namespace

RowCounts WriteRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                    const simd::RowState& state) {
  RowCounts counts;
  const int64_t value_dim = plan.dims.value_dim;
  const int64_t element = ElementBytes(plan.output_dtype);
  for (int64_t r = 0; r < tile.row_end - tile.row_begin; ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile, r);
    std::byte* output = data.output + plan.OutputAt(tile.batch, place.head, place.query) * element;
    const bool empty = state.sum[r] == 0;
    if (plan.has_sinks) AddSink(data.sinks[place.head], r, value_dim, state);
    if (empty) {
      ++counts.empty;
      std::memset(output, 0, static_cast<size_t>(value_dim * element));
    } else if (!WriteOutputRow(state.acc + r * state.acc_stride, value_dim, state.sum[r], plan.output_dtype, output)) {
      ++counts.non_finite;
    }
    const int64_t row = plan.LseAt(tile.batch, place.head, place.query);
    if (data.lse != nullptr) data.lse[row] = state.sum[r] == 0 ? kNegInf : state.max[r] + std::log(state.sum[r]);
    if (data.row_max != nullptr) {
      data.row_max[row] = state.max[r];
      data.row_sum[row] = state.sum[r];
    }
  }
  return counts;
}

}  // namespace attnd
