// What a picture of attention shall show, whatever its weights come from, and what came of it.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_OPTIONS_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/picture/attention_map.h"

namespace attnd::attnctl {

// The contract's largest heatmap, and its default.
inline constexpr int64_t kMaxCells = 512;

struct MapOptions {
  // Empty for one that is made up.
  std::optional<std::string> title;
  // Which ones, counted from 0, in this order; empty for all.
  std::vector<int64_t> layers;
  std::vector<int64_t> heads;
  std::optional<int64_t> batch;
  // Of the grid.
  std::optional<int64_t> columns;
  // Most cells of a head, down and across.
  std::optional<int64_t> cells;
  // Empty for those of the source.
  std::vector<std::string> tokens;
  std::vector<std::string> key_tokens;
};

// A picture to be.
struct DrawnMap {
  picture::AttentionMap map;
  // Such as "6 layers x 12 heads, 14 x 14".
  std::string summary;
  // What a person should know of it, a line each.
  std::vector<std::string> notes;
  // Of what --save writes: that of `rollout` if there is one, else of the heads' cells.
  std::vector<int64_t> shape;
  // Row-major and not pooled; empty if heads are drawn.
  std::vector<double> rollout;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_OPTIONS_H_
