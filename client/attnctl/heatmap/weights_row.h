// One query's weights on their way from a file into a picture.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_ROW_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_ROW_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace attnd::attnctl {

// Does not own its elements.
struct WeightsRow {
  // In 0..1, or NaN.
  std::span<const double> weights;
  // As many; 0 where the key is not visible.
  std::span<const uint8_t> visible;
};

// A row with a NaN says nothing of itself: it is passed over.
inline bool HasNan(const WeightsRow& row) {
  return std::any_of(row.weights.begin(), row.weights.end(), [](double w) { return std::isnan(w); });
}

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_ROW_H_
