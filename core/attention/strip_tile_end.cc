// The part of strip_tile.h that ends a tile: sums become output, LSE and entropies.
#include <algorithm>
#include <bit>
#include <cstring>

#include "core/attention/row_results.h"
#include "core/attention/simd_rows.h"
#include "core/attention/simd_transpose.h"
#include "core/attention/strip_tile.h"

namespace attnd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

RowCounts StripTile::Finish(const Strip& strip) {
  std::copy(strip.max, strip.max + strip.rows, row_max_.data() + strip.row);
  std::copy(strip.sum, strip.sum + strip.rows, row_sum_.data() + strip.row);
  if (strip.empty) std::fill(strip.acc, strip.acc + plan_->dims.value_dim * strip.width, 0.0F);
  // What a sink does to the state of keys shows in rows' states alone.
  std::copy(strip.sum, strip.sum + strip.rows, key_sum_);
  const RowCounts counts = plan_->output_dtype == DataType::kFloat32 ? WriteFloats(strip) : WriteConverted(strip);
  for (int64_t r = 0; r < strip.rows && keeps_; ++r) {
    const int64_t row = strip.row + r;
    statistics_.AddEntropy(row, {strip.max[r], key_sum_[r]}, strip.moment[r], {max()[row], sum()[row]});
  }
  return counts;
}

RowCounts StripTile::WriteConverted(const Strip& strip) {
  const int64_t stride = RoundUp(plan_->dims.value_dim, simd::kRowMultiple);
  simd::StripToRows(strip.acc, strip.width, plan_->dims.value_dim, rows_.data(), stride);
  return WriteRows(*plan_, *data_, TileOf(strip),
                   {row_max_.data() + strip.row, row_sum_.data() + strip.row, rows_.data(), stride});
}

RowCounts StripTile::WriteFloats(const Strip& strip) {
  RowCounts counts;
  const int64_t dim = plan_->dims.value_dim;
  auto* output = reinterpret_cast<float*>(data_->output);
  float* to[simd::kMaxStripWidth];
  // Columns beyond the rows must not count.
  std::fill(strip.sum + strip.rows, strip.sum + strip.width, 0.0F);
  for (int64_t r = 0; r < strip.rows; ++r) {
    const RowPlace place = PlaceOf(plan_->dims, tile_, strip.row + r);
    const auto at = static_cast<size_t>(strip.row + r);
    const RowEnd end = EndRow(*plan_, *data_, tile_.batch, place, &row_max_[at], &row_sum_[at]);
    keep_[r] = end.keep;
    strip.sum[r] = end.empty ? 0 : row_sum_[at];
    counts.empty += end.empty ? 1 : 0;
    to[r] = output + plan_->OutputAt(tile_.batch, place.head, place.query);
  }
  counts.non_finite = std::popcount(simd::StripDivide(keep_, strip.sum, strip.width, dim, strip.acc));
  if (EvenlyApart(strip) && dim % simd::kTransposeMultiple == 0) {
    simd::StripToRows(strip.acc, strip.width, dim, to[0], plan_->output.token);
    return counts;
  }
  const int64_t stride = RoundUp(dim, simd::kRowMultiple);
  simd::StripToRows(strip.acc, strip.width, dim, rows_.data(), stride);
  for (int64_t r = 0; r < strip.rows; ++r) {
    std::memcpy(to[r], rows_.data() + r * stride, static_cast<size_t>(dim) * sizeof(float));
  }
  return counts;
}

}  // namespace attnd
