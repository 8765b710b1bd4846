#include "client/attnctl/heatmap/map_grid.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/tensor.h"

namespace attnd::attnctl {
namespace {

// 256 MiB for the means, and as much for the largest.
constexpr int64_t kMaxCellsInAll = int64_t{1} << 26;

absl::StatusOr<std::vector<int64_t>> Choose(const std::vector<int64_t>& listed, int64_t count, const char* flag) {
  for (const int64_t index : listed) {
    if (index >= 0 && index < count) continue;
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", index, " is not one of ", count, ", counted from 0"));
  }
  if (!listed.empty()) return listed;
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// One row of a few, or a grid that is about square.
int64_t UsualColumns(size_t heads) {
  constexpr size_t kFew = 4;
  if (heads <= kFew) return static_cast<int64_t>(heads);
  return static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(heads))));
}

std::string Counted(size_t count, const char* what) { return absl::StrCat(count, " ", what, count == 1 ? "" : "s"); }

}  // namespace

absl::StatusOr<MapGrid> ChooseGrid(const MapOptions& options, int64_t layers, bool names_layers, int64_t heads) {
  auto chosen_layers = Choose(options.layers, layers, "--layers");
  if (!chosen_layers.ok()) return chosen_layers.status();
  auto chosen_heads = Choose(options.heads, heads, "--heads");
  if (!chosen_heads.ok()) return chosen_heads.status();
  return MapGrid{*std::move(chosen_layers), names_layers, *std::move(chosen_heads)};
}

absl::Status CheckCells(const MapGrid& grid, int64_t rows, int64_t columns) {
  const auto heads = static_cast<int64_t>(grid.layers.size() * grid.heads.size());
  const auto cells = Product(std::array{heads, rows, columns});
  if (cells.has_value() && *cells <= kMaxCellsInAll) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(heads, " heads of ", rows, " x ", columns,
                                                 " cells are too many for a picture; choose some with --heads and "
                                                 "--layers, or take fewer --cells"));
}

void ArrangeGrid(const MapGrid& grid, const MapOptions& options, DrawnMap* drawn) {
  picture::AttentionMap& map = drawn->map;
  const size_t width = grid.heads.size();
  const bool several_layers = grid.layers.size() > 1;
  map.grid_columns =
      options.columns.value_or(several_layers ? static_cast<int64_t>(width) : UsualColumns(map.heads.size()));
  for (size_t i = 0; i < map.heads.size(); ++i) {
    const std::string layer = grid.names_layers ? absl::StrCat("layer ", grid.layers[i / width], ", ") : "";
    map.heads[i].title = absl::StrCat(layer, "head ", grid.heads[i % width]);
  }
  if (several_layers && map.grid_columns == static_cast<int64_t>(width)) {
    for (const int64_t layer : grid.layers) map.row_titles.push_back(absl::StrCat("layer ", layer));
    for (const int64_t head : grid.heads) map.column_titles.push_back(absl::StrCat("head ", head));
  }
  if (grid.names_layers) drawn->shape.push_back(static_cast<int64_t>(grid.layers.size()));
  for (const int64_t extent : {static_cast<int64_t>(width), map.heads.front().rows, map.heads.front().columns}) {
    drawn->shape.push_back(extent);
  }
  const std::string layers = several_layers ? absl::StrCat(Counted(grid.layers.size(), "layer"), " x ") : "";
  drawn->summary = absl::StrCat(layers, Counted(width, "head"), ", ", DescribeCells(map));
}

std::string DescribeCells(const picture::AttentionMap& map) {
  const picture::HeadMap& head = map.heads.front();
  std::string size = absl::StrCat(map.q_len, " x ", map.kv_len);
  if (head.rows == map.q_len && head.columns == map.kv_len) return size;
  return absl::StrCat(size, " in ", head.rows, " x ", head.columns, " cells");
}

}  // namespace attnd::attnctl
