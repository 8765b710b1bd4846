// How large the parts of a picture are. Of this folder's sources only.
#ifndef ATTND_CLIENT_PICTURE_LAYOUT_SIZES_H_
#define ATTND_CLIENT_PICTURE_LAYOUT_SIZES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/picture/attention_map.h"
#include "client/picture/font.h"
#include "client/picture/layout_axis.h"

namespace attnd::picture {

inline constexpr int kMargin = 24;
inline constexpr double kTitleText = 17;
inline constexpr double kHeadText = 12;
inline constexpr double kNoteText = 11;
inline constexpr int kTitleLine = 30;
inline constexpr int kHeadLine = 20;
inline constexpr int kNoteLine = 16;

struct GridSizes {
  int64_t grid_columns = 0;
  int64_t grid_rows = 0;
  // Of the largest head.
  int64_t rows = 0;
  int64_t columns = 0;
  int cell_width = 0;
  int cell_height = 0;
  // The place of one head's cells, and from it to the next head's.
  int panel_width = 0;
  int panel_height = 0;
  int64_t step_x = 0;
  int64_t step_y = 0;
  // Left of and above the first head's cells.
  int left = 0;
  int above = 0;
  // Above each head's cells, and the most lines of text below.
  int head_title = 0;
  int caption_lines = 0;
  // One of each for all heads: along the left side of the grid and above it.
  Axis queries;
  Axis keys;
  // Whether "query" and "key" have room at the axes.
  bool axis_names = false;
  // All of the grid.
  int64_t width = 0;
  int64_t height = 0;
};

// kInvalidArgument if the grid is too large to be drawn.
absl::StatusOr<GridSizes> MeasureGrid(const AttentionMap& map, const Font& font);

// kInvalidArgument if so large a picture is refused.
absl::Status CheckSize(int64_t width, int64_t height);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_LAYOUT_SIZES_H_
