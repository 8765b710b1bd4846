#include "client/picture/layout.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/picture/layout_axis.h"
#include "client/picture/layout_legend.h"
#include "client/picture/layout_sizes.h"
#include "client/picture/text.h"
#include "client/picture/words.h"

namespace attnd::picture {
namespace {

// Indices times cells must not overflow.
constexpr int64_t kMostLength = int64_t{1} << 40U;
constexpr int64_t kMostCells = int64_t{1} << 20U;
// Cells of at least so many pixels have gaps; or room for their weights, if a head has few.
constexpr int kGapFrom = 12;
constexpr int kValuesFrom = 34;
constexpr int64_t kMostValues = 16;
constexpr int kAboveLegend = 22;
constexpr int kMostTitle = 900;

// Puts the parts of one picture where `sizes` has room for them.
class Composer {
 public:
  Composer(const AttentionMap& map, const GridSizes& sizes, const Font& font) : map_(map), sizes_(sizes), font_(font) {}

  absl::StatusOr<Layout> Compose(const WeightScale& scale) {
    const std::string title = font_.Elide(Displayable(map_.title), kTitleText, kMostTitle);
    const int64_t title_width = title.empty() ? 0 : std::lround(std::ceil(font_.Width(title, kTitleText)));
    const int64_t content = std::max({sizes_.width, title_width, int64_t{kLegendWidth}});
    const int64_t top = kMargin + (title.empty() ? 0 : kTitleLine);
    constexpr int64_t kMostLegend = 160;
    if (auto status = CheckSize(content + int64_t{2} * kMargin, top + sizes_.height + kMostLegend + kMargin);
        !status.ok()) {
      return status;
    }
    if (!title.empty()) AddText(title, kMargin, kMargin + kTitleLine / 2.0 - 5, kTitleText, Tone::kInk);
    left_ = static_cast<int>(kMargin + (content - sizes_.width) / 2 + sizes_.left);
    top_ = static_cast<int>(top + sizes_.above);
    PlaceCells();
    PlaceTitles();
    const int below = map_.heads.empty() ? static_cast<int>(top) : static_cast<int>(top + sizes_.height) + kAboveLegend;
    const int legend = PlaceLegend(map_, scale, kMargin, below, static_cast<int>(content), sizes_.axis_names, layout_);
    layout_.width = static_cast<int>(content) + 2 * kMargin;
    layout_.height = below + legend + kMargin;
    return std::move(layout_);
  }

 private:
  void AddText(std::string_view text, double x, double middle, double size, Tone tone) {
    layout_.labels.push_back({std::string(text), {x, Baseline(middle, size), size}, Anchor::kStart, tone});
  }

  [[nodiscard]] int PanelX(int64_t column) const { return left_ + static_cast<int>(column * sizes_.step_x); }
  [[nodiscard]] int PanelY(int64_t row) const { return top_ + static_cast<int>(row * sizes_.step_y); }

  void PlaceCells() {
    layout_.cell_gap = std::min(sizes_.cell_width, sizes_.cell_height) >= kGapFrom ? 1 : 0;
    if (std::min(sizes_.cell_width, sizes_.cell_height) >= kValuesFrom &&
        std::max(sizes_.rows, sizes_.columns) <= kMostValues) {
      layout_.value_size = std::min(0.28 * sizes_.cell_width, 13.0);
    }
    for (size_t i = 0; i < map_.heads.size(); ++i) {
      const auto column = static_cast<int64_t>(i) % sizes_.grid_columns;
      const auto row = static_cast<int64_t>(i) / sizes_.grid_columns;
      PlaceHead(i, PanelX(column), PanelY(row));
    }
  }

  void PlaceHead(size_t i, int x, int y) {
    const HeadMap& head = map_.heads[i];
    const Box box = {x, y, static_cast<int>(head.columns) * sizes_.cell_width,
                     static_cast<int>(head.rows) * sizes_.cell_height};
    if (!head.mean.empty()) layout_.panels.push_back({i, box, sizes_.cell_width, sizes_.cell_height});
    const double room = std::max(sizes_.panel_width, static_cast<int>(sizes_.step_x) - kHeadLine);
    if (sizes_.head_title > 0) {
      const std::string title = font_.Elide(Displayable(head.title), kHeadText, room);
      const bool below_axis = static_cast<int64_t>(i) >= sizes_.grid_columns;
      const int above = below_axis ? 0 : sizes_.above - sizes_.head_title - ColumnTitleHeight();
      AddText(title, x, y - above - sizes_.head_title / 2.0, kHeadText, Tone::kInk);
    }
    double middle = y + sizes_.panel_height + 4 + kNoteLine / 2.0;
    for (const std::string& line : CaptionOf(head)) {
      AddText(font_.Elide(line, kNoteText, room), x, middle, kNoteText, Tone::kQuiet);
      middle += kNoteLine;
    }
  }

  [[nodiscard]] int ColumnTitleHeight() const { return map_.column_titles.empty() ? 0 : kHeadLine; }

  void PlaceTitles() {
    for (int64_t column = 0; column < sizes_.grid_columns && !map_.heads.empty(); ++column) {
      const Box first = {PanelX(column), top_, sizes_.panel_width, sizes_.panel_height};
      PlaceAxis(sizes_.keys, first, layout_);
      if (column < static_cast<int64_t>(map_.column_titles.size())) {
        const std::string title = Displayable(map_.column_titles[static_cast<size_t>(column)]);
        AddText(font_.Elide(title, kHeadText, static_cast<double>(sizes_.step_x) - kHeadLine), first.x,
                top_ - sizes_.above + kHeadLine / 2.0, kHeadText, Tone::kInk);
      }
    }
    for (int64_t row = 0; row < sizes_.grid_rows; ++row) {
      const Box first = {left_, PanelY(row), sizes_.panel_width, sizes_.panel_height};
      PlaceAxis(sizes_.queries, first, layout_);
      if (row < static_cast<int64_t>(map_.row_titles.size())) {
        const std::string title = Displayable(map_.row_titles[static_cast<size_t>(row)]);
        AddUpward(font_.Elide(title, kHeadText, static_cast<double>(sizes_.step_y)), left_ - sizes_.left + 8, first,
                  kHeadText, Tone::kInk);
      }
    }
    if (sizes_.axis_names) NameAxes();
  }

  void AddUpward(std::string text, double x_middle, const Box& beside, double size, Tone tone) {
    layout_.labels.push_back({std::move(text),
                              {Baseline(x_middle, size), beside.y + beside.height / 2.0, size, /*upward=*/true},
                              Anchor::kMiddle,
                              tone});
  }

  void NameAxes() {
    const Box panel = {left_, top_, sizes_.panel_width, sizes_.panel_height};
    AddUpward("query", panel.x - sizes_.queries.extent - kNoteLine / 2.0 - 2, panel, kNoteText, Tone::kQuiet);
    const double middle = panel.y - sizes_.keys.extent - kNoteLine / 2.0 - 2;
    layout_.labels.push_back(
        {"key", {panel.x + panel.width / 2.0, Baseline(middle, kNoteText), kNoteText}, Anchor::kMiddle, Tone::kQuiet});
  }

  const AttentionMap& map_;
  const GridSizes& sizes_;
  const Font& font_;
  Layout layout_;
  // Of the first head's cells.
  int left_ = 0;
  int top_ = 0;
};

absl::Status CheckHead(const AttentionMap& map, const HeadMap& head) {
  if (head.rows < 0 || head.columns < 0 || head.rows > kMostCells || head.columns > kMostCells) {
    return absl::InvalidArgumentError(absl::StrCat("[", head.rows, ", ", head.columns, "] cells cannot be drawn"));
  }
  const auto cells = static_cast<size_t>(head.rows * head.columns);
  if (head.mean.size() != cells || (!head.max.empty() && head.max.size() != cells)) {
    return absl::InvalidArgumentError(absl::StrCat("[", head.rows, ", ", head.columns, "] cells have ",
                                                   head.mean.size(), " means and ", head.max.size(), " maxima"));
  }
  if (IsPooled(head) && (map.q_len < head.rows || map.kv_len < head.columns)) {
    return absl::InvalidArgumentError(absl::StrCat("[", head.rows, ", ", head.columns, "] cells are more than [",
                                                   map.q_len, ", ", map.kv_len, "] pairs"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMap(const AttentionMap& map) {
  if (map.grid_columns < 1) return absl::InvalidArgumentError("the grid of heads has no columns");
  if (map.q_len > kMostLength || map.kv_len > kMostLength) {
    return absl::InvalidArgumentError(absl::StrCat("[", map.q_len, ", ", map.kv_len, "] pairs are too many"));
  }
  for (size_t i = 0; i < map.heads.size(); ++i) {
    const auto status = CheckHead(map, map.heads[i]);
    if (status.ok()) continue;
    return absl::InvalidArgumentError(absl::StrCat("head ", i, " of the picture: ", status.message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<Layout> MakeLayout(const AttentionMap& map, const WeightScale& scale, const Font& font) {
  const auto sizes = MeasureGrid(map, font);
  if (!sizes.ok()) return sizes.status();
  return Composer(map, *sizes, font).Compose(scale);
}

Box CellBox(const Layout& layout, const Panel& panel, int row, int column) {
  return {panel.box.x + column * panel.cell_width, panel.box.y + row * panel.cell_height,
          panel.cell_width - layout.cell_gap, panel.cell_height - layout.cell_gap};
}

Label ValueLabel(const Layout& layout, const Panel& panel, int row, int column, float weight) {
  const Box box = CellBox(layout, panel, row, column);
  const double middle = box.y + box.height / 2.0;
  return {absl::StrFormat("%.2f", weight),
          {box.x + box.width / 2.0, Baseline(middle, layout.value_size), layout.value_size},
          Anchor::kMiddle};
}

}  // namespace attnd::picture
