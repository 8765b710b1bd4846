#include "core/attention/strip_rows.h"

#include <algorithm>

#include "core/attention/simd_pairs.h"
#include "core/attention/simd_strip.h"
#include "core/attention/split.h"
#include "core/attention/strip_statistics.h"

namespace attnd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

int64_t StripRowsPerTile(const AttentionPlan& plan) {
  // About 2 ms of products, of which moving a float takes the time of 64.
  constexpr double kFlopsPerTile = 2.3e8;
  constexpr double kMostRows = 256;
  // Small problems are cut into so many tiles that workers stay level to the end.
  constexpr double kLeastTiles = 8;
  constexpr double kFlopsPerFloatMoved = 64;
  const auto dim = static_cast<double>(plan.dims.head_dim + plan.dims.value_dim);
  const double flops_per_row = dim * (2 * static_cast<double>(plan.dims.kv_len) + kFlopsPerFloatMoved);
  const double level = static_cast<double>(plan.rows) / kLeastTiles;
  const int64_t strip = simd::FullStripWidth();
  auto rows = static_cast<int64_t>(std::min({kMostRows, kFlopsPerTile / flops_per_row, level}));
  if (plan.diagnostics.has_value()) rows = std::min(rows, StripStatistics::MostRows(plan));
  // Rows of entries that may be cut stay together.
  const int64_t least = plan.dims.kv_len > KeysPerPart(plan.dims) ? RoundUp(kSplitRows, strip) : strip;
  return std::max(least, rows / strip * strip);
}

bool StripInPairs(const AttentionPlan& plan, int64_t batch) {
  const int64_t rows = plan.q_used[batch] * plan.dims.group();
  return rows <= simd::kPairWidth && simd::InPairs(simd::StripWidth(rows));
}

int64_t StripRows(int64_t left) {
  const int64_t rows = std::min(left, simd::FullStripWidth());
  const int64_t width = simd::StripWidth(rows);
  const int64_t half = width / 2;
  const bool halves = rows > half && simd::StripWidth(half) == half;
  return halves && half + simd::StripWidth(rows - half) < width ? half : rows;
}

}  // namespace attnd
