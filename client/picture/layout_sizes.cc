#include "client/picture/layout_sizes.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/picture/words.h"

namespace attnd::picture {
namespace {

constexpr int64_t kMostSide = 20'000;
constexpr int64_t kMostPixels = 200'000'000;

constexpr int64_t kLargestCell = 56;
// Of one head; a grid's heads share kGridWidth.
constexpr int64_t kHeadSide = 720;
constexpr int64_t kGridWidth = 2200;
// A single row of cells is not a line.
constexpr int64_t kLeastPanel = 40;
// Room for a caption.
constexpr int64_t kLeastStep = 128;
constexpr int kSpace = 18;

int64_t CellSize(int64_t cells, int64_t grid_columns) {
  if (cells == 0) return 1;
  const int64_t shared = kGridWidth / grid_columns - kSpace;
  const int64_t size = std::clamp<int64_t>(std::min(kHeadSide, shared) / cells, 1, kLargestCell);
  // One pixel is hard to see: rather a larger picture.
  return size == 1 && 2 * cells <= shared ? 2 : size;
}

void SizeCells(GridSizes& sizes) {
  const int64_t size = CellSize(std::max(sizes.rows, sizes.columns), sizes.grid_columns);
  const auto fit = [size](int64_t cells) {
    return cells == 0 ? kLeastPanel : std::max(size, (kLeastPanel + cells - 1) / cells);
  };
  sizes.cell_width = static_cast<int>(fit(sizes.columns));
  sizes.cell_height = static_cast<int>(fit(sizes.rows));
  sizes.panel_width = static_cast<int>(sizes.cell_width * std::max<int64_t>(sizes.columns, 1));
  sizes.panel_height = static_cast<int>(sizes.cell_height * std::max<int64_t>(sizes.rows, 1));
}

// Whether the same indices are at the same places in all heads.
bool SameAxes(const AttentionMap& map, const GridSizes& sizes) {
  return std::all_of(map.heads.begin(), map.heads.end(), [&](const HeadMap& head) {
    const bool same_size = head.rows == sizes.rows && head.columns == sizes.columns;
    return !IsPooled(head) ? !IsPooled(map.heads.front()) : same_size;
  });
}

void MeasureAxes(const AttentionMap& map, const Font& font, GridSizes& sizes) {
  if (map.heads.empty() || !SameAxes(map, sizes)) return;
  const bool pooled = IsPooled(map.heads.front());
  sizes.queries = MakeAxis(
      {&map.query_tokens, sizes.rows, sizes.cell_height, pooled ? map.q_len : sizes.rows, /*across=*/false}, font);
  sizes.keys = MakeAxis(
      {&map.key_tokens, sizes.columns, sizes.cell_width, pooled ? map.kv_len : sizes.columns, /*across=*/true}, font);
  sizes.axis_names = map.heads.size() == 1 && !sizes.queries.marks.empty() && !sizes.keys.marks.empty();
}

}  // namespace

absl::Status CheckSize(int64_t width, int64_t height) {
  if (width <= kMostSide && height <= kMostSide && width * height <= kMostPixels) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the picture would have ", width, " x ", height, " pixels; at most ", kMostSide, " on a side and ",
                   kMostPixels, " in all can be drawn: show fewer heads or pool their weights in larger cells"));
}

absl::StatusOr<GridSizes> MeasureGrid(const AttentionMap& map, const Font& font) {
  GridSizes sizes;
  const auto heads = static_cast<int64_t>(map.heads.size());
  sizes.grid_columns = std::clamp<int64_t>(map.grid_columns, 1, std::max<int64_t>(heads, 1));
  sizes.grid_rows = (heads + sizes.grid_columns - 1) / sizes.grid_columns;
  bool titles = false;
  for (const HeadMap& head : map.heads) {
    sizes.rows = std::max(sizes.rows, head.rows);
    sizes.columns = std::max(sizes.columns, head.columns);
    titles = titles || !head.title.empty();
    sizes.caption_lines = std::max(sizes.caption_lines, static_cast<int>(CaptionOf(head).size()));
  }
  // No narrower than with one pixel per cell; also keeps what follows within int.
  if (auto status = CheckSize(sizes.columns * sizes.grid_columns, sizes.rows * sizes.grid_rows); !status.ok()) {
    return status;
  }
  SizeCells(sizes);
  MeasureAxes(map, font, sizes);
  const bool titled_grid = !map.row_titles.empty() && !map.column_titles.empty();
  sizes.head_title = titles && !titled_grid ? kHeadLine : 0;
  const int names = sizes.axis_names ? kNoteLine + 4 : 0;
  sizes.left = sizes.queries.extent + names + (map.row_titles.empty() ? 0 : kHeadLine);
  sizes.above = sizes.keys.extent + names + sizes.head_title + (map.column_titles.empty() ? 0 : kHeadLine);
  const int64_t captions = sizes.caption_lines * kNoteLine + (sizes.caption_lines > 0 ? 4 : 0);
  sizes.step_x = std::max<int64_t>(sizes.panel_width, kLeastStep) + kSpace;
  sizes.step_y = sizes.panel_height + captions + kSpace + sizes.head_title;
  if (heads == 0) return sizes;
  const int64_t last_width = sizes.grid_columns > 1 || captions > 0 ? sizes.step_x - kSpace : sizes.panel_width;
  sizes.width = sizes.left + (sizes.grid_columns - 1) * sizes.step_x + last_width;
  sizes.height = sizes.above + (sizes.grid_rows - 1) * sizes.step_y + sizes.panel_height + captions;
  return sizes;
}

}  // namespace attnd::picture
