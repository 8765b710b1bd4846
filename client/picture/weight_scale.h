// Which place on the color scale a weight has.
#ifndef ATTND_CLIENT_PICTURE_WEIGHT_SCALE_H_
#define ATTND_CLIENT_PICTURE_WEIGHT_SCALE_H_

#include <string>
#include <vector>

#include "client/picture/attention_map.h"

namespace attnd::picture {

// position = (weight / largest) ^ (1 / root), the same for every head of a picture, so that
// colors of different heads compare.
struct WeightScale {
  // Of the finite weights; 0 if there is none above 0.
  double largest = 0;
  // 1 to 4. The larger, the more of the scale small weights get: in a long row they would
  // otherwise all be black beside the few large ones.
  int root = 1;
  bool any_visible = false;
  bool any_hidden = false;

  // 0 to 1; `weight` is not NaN.
  [[nodiscard]] double Position(float weight) const;
  // The weight at 0 <= position <= 1.
  [[nodiscard]] double WeightAt(double position) const;
  // Such as "the color follows the square root of the weight".
  [[nodiscard]] std::string Description() const;
};

using Weights = std::vector<float> HeadMap::*;

// The scale of all heads' `weights`, with the smallest root that shows half of the weights
// above 0 in the upper four fifths of it.
[[nodiscard]] WeightScale MakeWeightScale(const AttentionMap& map, Weights weights);

// As a reader wants it: "0.25", "6.1e-05".
[[nodiscard]] std::string FormatWeight(double weight);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_WEIGHT_SCALE_H_
