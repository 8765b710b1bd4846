// A picture of weights in a file, or of a heatmap in one that attnctl wrote.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FROM_FILE_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FROM_FILE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/attnctl/heatmap/map_options.h"
#include "client/attnctl/heatmap/weights_visibility.h"

namespace attnd::attnctl {

struct MapFile {
  std::string path;
  // Empty for the one that is meant.
  std::string tensor;
  VisibilityFlags visibility;
  // Queries and keys from here on are padding and not shown.
  std::optional<int64_t> length;
  // The rollout of the layers instead of their heads.
  bool rollout = false;
};

// Reads the file. Each head is pooled and labelled from all its weights in float64, unless
// the file says what a server found. Errors name the file and the tensor, or the flag.
absl::StatusOr<DrawnMap> MapFromFile(const MapFile& file, const MapOptions& options);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FROM_FILE_H_
