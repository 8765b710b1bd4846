// A picture of attention rollout.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_ROLLOUT_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_ROLLOUT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/attnctl/heatmap/map_grid.h"
#include "client/attnctl/heatmap/map_options.h"
#include "client/attnctl/heatmap/weights_reader.h"
#include "client/attnctl/heatmap/weights_visibility.h"

namespace attnd::attnctl {

// The rollout (client/rollout.h) of the grid's heads and layers in one map of so many cells,
// and the whole of it. Errors do not name the file.
absl::StatusOr<DrawnMap> DrawRollout(WeightsReader* reader, const WeightsVisibility& visibility, const MapGrid& grid,
                                     int64_t cells);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_ROLLOUT_H_
