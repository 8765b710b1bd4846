// Pictures of attention as files.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FILE_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/heatmap/map_options.h"

namespace attnd::attnctl {

// OK if the path ends as a picture's does, and a theme ("light", "dark" or empty) was given
// for .png only.
absl::Status CheckPicture(const std::string& path, const std::string& theme);

// Draws and writes the picture, and returns what there is to say: "written to heads.png: 12
// heads, 14 x 14, 2400 x 1300 pixels". REQUIRES: CheckPicture is OK.
absl::StatusOr<std::string> WritePicture(const std::string& path, const std::string& theme, const DrawnMap& drawn);

// Writes what is drawn as an array: float32 means of cells, NaN where no pair is visible; of a
// rollout all of it, float64. Returns what there is to say.
absl::StatusOr<std::string> SaveMap(const std::string& path, const DrawnMap& drawn);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FILE_H_
