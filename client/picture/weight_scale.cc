#include "client/picture/weight_scale.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_format.h"

namespace attnd::picture {
namespace {

constexpr int kLargestRoot = 4;
constexpr double kLeastMedianPosition = 0.2;
// More weights than these are sampled for the median.
constexpr size_t kMostSamples = size_t{1} << 20U;

double MedianAboveZero(const AttentionMap& map, Weights weights) {
  size_t total = 0;
  for (const HeadMap& head : map.heads) total += (head.*weights).size();
  const size_t step = total / kMostSamples + 1;
  std::vector<float> samples;
  samples.reserve(total / step + map.heads.size());
  for (const HeadMap& head : map.heads) {
    const std::vector<float>& values = head.*weights;
    for (size_t i = 0; i < values.size(); i += step) {
      if (std::isfinite(values[i]) && values[i] > 0) samples.push_back(values[i]);
    }
  }
  if (samples.empty()) return 0;
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

}  // namespace

double WeightScale::Position(float weight) const {
  if (!(weight > 0) || largest <= 0) return 0;
  const double share = std::min(weight / largest, 1.0);
  switch (root) {
    case 1:
      return share;
    case 2:
      return std::sqrt(share);
    case 3:
      return std::cbrt(share);
    default:
      return std::sqrt(std::sqrt(share));
  }
}

double WeightScale::WeightAt(double position) const { return largest * std::pow(position, root); }

std::string WeightScale::Description() const {
  switch (root) {
    case 1:
      return "the color is linear in the weight";
    case 2:
      return "the color follows the square root of the weight";
    case 3:
      return "the color follows the cube root of the weight";
    default:
      return "the color follows the fourth root of the weight";
  }
}

WeightScale MakeWeightScale(const AttentionMap& map, Weights weights) {
  WeightScale scale;
  for (const HeadMap& head : map.heads) {
    for (const float weight : head.*weights) {
      (std::isnan(weight) ? scale.any_hidden : scale.any_visible) = true;
      if (std::isfinite(weight)) scale.largest = std::max<double>(scale.largest, weight);
    }
  }
  const double median = MedianAboveZero(map, weights);
  while (median > 0 && scale.root < kLargestRoot &&
         std::pow(median / scale.largest, 1.0 / scale.root) < kLeastMedianPosition) {
    ++scale.root;
  }
  return scale;
}

std::string FormatWeight(double weight) { return absl::StrFormat("%.3g", weight); }

}  // namespace attnd::picture
