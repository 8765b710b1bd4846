// What explains a picture, below it. Of this folder's sources only.
#ifndef ATTND_CLIENT_PICTURE_LAYOUT_LEGEND_H_
#define ATTND_CLIENT_PICTURE_LAYOUT_LEGEND_H_

#include "client/picture/attention_map.h"
#include "client/picture/layout.h"
#include "client/picture/weight_scale.h"

namespace attnd::picture {

// The narrowest it can be.
inline constexpr int kLegendWidth = 290;

// Adds the legend with its upper left at (x, y), and returns its height. `axis_names`: the
// axes say which are queries.
int PlaceLegend(const AttentionMap& map, const WeightScale& scale, int x, int y, int width, bool axis_names,
                Layout& layout);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_LAYOUT_LEGEND_H_
