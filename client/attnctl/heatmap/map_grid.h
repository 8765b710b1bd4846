// Which heads a picture shows, and in which order.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_GRID_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_GRID_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/heatmap/map_options.h"

namespace attnd::attnctl {

// Layers and heads that are drawn, by their numbers.
struct MapGrid {
  // One, of no number that is worth a word, if the weights are of one layer.
  std::vector<int64_t> layers = {0};
  bool names_layers = false;
  std::vector<int64_t> heads;
};

// Those that `options` ask for of so many. Errors name the flag.
absl::StatusOr<MapGrid> ChooseGrid(const MapOptions& options, int64_t layers, bool names_layers, int64_t heads);

// Fails if so many heads of so many cells are more than a picture can show.
absl::Status CheckCells(const MapGrid& grid, int64_t rows, int64_t columns);

// Puts the heads, which are there layer by layer, into rows, and gives them titles; sets
// `shape` and `summary`. REQUIRES: the map has all heads of the grid, q_len and kv_len.
void ArrangeGrid(const MapGrid& grid, const MapOptions& options, DrawnMap* drawn);

// "2048 x 2048 in 512 x 512 cells". REQUIRES: the map has a head.
std::string DescribeCells(const picture::AttentionMap& map);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_GRID_H_
