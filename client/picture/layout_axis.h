// Which tokens or indices stand at a side of heads. Of this folder's sources only.
#ifndef ATTND_CLIENT_PICTURE_LAYOUT_AXIS_H_
#define ATTND_CLIENT_PICTURE_LAYOUT_AXIS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/picture/font.h"
#include "client/picture/layout.h"

namespace attnd::picture {

struct AxisInput {
  const std::vector<std::string>* tokens = nullptr;
  int64_t cells = 0;
  int cell_size = 0;
  // Queries or keys; as many as cells if they are not pooled.
  int64_t length = 0;
  // Along the upper side, not down the left one.
  bool across = false;
};

struct Axis {
  struct Mark {
    std::string text;
    // From the first cell's beginning, in pixels.
    double at = 0;
  };
  std::vector<Mark> marks;
  double text_size = 0;
  // From the cells to the end of the longest text.
  int extent = 0;
  bool across = false;
  bool upward = false;
  bool ticks = false;
};

// Tokens where each cell has one, every n-th if they are too close; indices otherwise.
[[nodiscard]] Axis MakeAxis(const AxisInput& input, const Font& font);

// Adds the axis to the left of or above `box`.
void PlaceAxis(const Axis& axis, const Box& box, Layout& layout);

// The baseline of text whose capitals have their middle at `middle`.
[[nodiscard]] double Baseline(double middle, double text_size);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_LAYOUT_AXIS_H_
