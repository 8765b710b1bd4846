#include "core/attention/row_results.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();

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

// m' = max(m, s), l' = l exp(m - m') + exp(s - m') for a sink s, and the accumulated values
// follow the maximum.
RowEnd EndRow(const AttentionPlan& plan, const AttentionData& data, int64_t batch, const RowPlace& place, float* max,
              float* sum) {
  RowEnd end{.empty = *sum == 0, .keep = 1};
  const auto add = [&](float sink) {
    if (sink == kNegInf) return;
    const float new_max = std::max(*max, sink);
    const float keep = std::exp(*max - new_max);
    end.keep *= keep;
    *sum = *sum * keep + std::exp(sink - new_max);
    *max = new_max;
  };
  if (plan.has_sinks) add(data.sinks[place.head]);
  if (data.row_sinks != nullptr) add(data.row_sinks[plan.LseAt(batch, place.head, place.query)]);
  if (data.lse == nullptr && data.row_max == nullptr) return end;
  const int64_t row = plan.LseAt(batch, place.head, place.query);
  if (data.lse != nullptr) data.lse[row] = *sum == 0 ? kNegInf : *max + std::log(*sum);
  if (data.row_max != nullptr) {
    data.row_max[row] = *max;
    data.row_sum[row] = *sum;
  }
  return end;
}

RowCounts WriteRows(const AttentionPlan& plan, const AttentionData& data, const Tile& tile,
                    const simd::RowState& state) {
  RowCounts counts;
  const int64_t value_dim = plan.dims.value_dim;
  const int64_t element = ElementBytes(plan.output_dtype);
  for (int64_t r = 0; r < tile.row_end - tile.row_begin; ++r) {
    const RowPlace place = PlaceOf(plan.dims, tile, r);
    std::byte* output = data.output + plan.OutputAt(tile.batch, place.head, place.query) * element;
    const RowEnd end = EndRow(plan, data, tile.batch, place, state.max + r, state.sum + r);
    float* acc = state.acc + r * state.acc_stride;
    if (end.empty) {
      ++counts.empty;
      std::memset(output, 0, static_cast<size_t>(value_dim * element));
      continue;
    }
    if (end.keep != 1) simd::ScaleRow(acc, value_dim, end.keep, acc);
    if (!WriteOutputRow(acc, value_dim, state.sum[r], plan.output_dtype, output)) ++counts.non_finite;
  }
  return counts;
}

}  // namespace attnd
