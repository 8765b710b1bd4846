#include "core/runtime/whole_job.h"

#include "absl/status/statusor.h"

namespace attnd {

WholeJob RunWholeJob(Job& job, const Clock& clock) {
  WholeJob whole;
  const Time begin = clock.Now();
  const absl::StatusOr<int64_t> first = job.Prepare();
  const Time prepared = clock.Now();
  whole.timings.prepare = prepared - begin;
  if (!first.ok()) {
    whole.status = first.status();
    return whole;
  }
  for (int64_t tiles = *first; tiles > 0; tiles = job.NextStage()) {
    for (int64_t tile = 0; tile < tiles && whole.status.ok(); ++tile) {
      whole.status = job.RunTile(tile);
      ++whole.tiles;
    }
    if (!whole.status.ok()) break;
  }
  if (whole.tiles > 0) whole.timings.compute = clock.Now() - prepared;
  return whole;
}

}  // namespace attnd
