// Where everything is in a picture of attention, for all ways to draw it.
#ifndef ATTND_CLIENT_PICTURE_LAYOUT_H_
#define ATTND_CLIENT_PICTURE_LAYOUT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/picture/attention_map.h"
#include "client/picture/canvas.h"
#include "client/picture/font.h"
#include "client/picture/weight_scale.h"

namespace attnd::picture {

// Which side of a label is at its place.
enum class Anchor { kStart, kMiddle, kEnd };

enum class Tone { kInk, kQuiet };

// Well-formed UTF-8 without control characters.
struct Label {
  std::string text;
  TextPlace place;
  Anchor anchor = Anchor::kStart;
  Tone tone = Tone::kInk;
};

// The cells of one head: [rows, columns] of it, side by side from the upper left of `box`.
struct Panel {
  size_t head = 0;
  Box box;
  int cell_width = 0;
  int cell_height = 0;
};

struct Layout {
  int width = 0;
  int height = 0;
  std::vector<Panel> panels;
  std::vector<Label> labels;
  std::vector<Box> ticks;
  // From 0 on its left to 1; of no width where there are no weights.
  Box scale_bar;
  // Looks like hidden cells; of no width where there are none.
  Box hidden_sample;
  // Pixels at the right and lower side of each cell that belong to the page.
  int cell_gap = 0;
  // Cells have room for their weights, as labels of this size; 0 if not.
  double value_size = 0;
};

// kInvalidArgument, with the head's number, if sizes contradict each other.
absl::Status CheckMap(const AttentionMap& map);

// `map` has passed CheckMap. kInvalidArgument if the picture is too large.
absl::StatusOr<Layout> MakeLayout(const AttentionMap& map, const WeightScale& scale, const Font& font);

// A cell without its gap.
[[nodiscard]] Box CellBox(const Layout& layout, const Panel& panel, int row, int column);

// A cell's weight as a label in its middle.
[[nodiscard]] Label ValueLabel(const Layout& layout, const Panel& panel, int row, int column, float weight);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_LAYOUT_H_
