// A job while the executor has it. Used by executor.cc.
#ifndef ATTND_CORE_RUNTIME_JOB_ENTRY_H_
#define ATTND_CORE_RUNTIME_JOB_ENTRY_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "core/runtime/clock.h"
#include "core/runtime/executor.h"

namespace attnd {

// An admitted job. Invariants:
//  - it is in jobs_ until Done is due, and in runnable_ iff a step of it may be claimed
//  - steps_running counts Prepare and tiles in progress
//  - after `end` is set, no step is claimed; Done is due when steps_running reaches 0
//  - a job that joined another has a `leader`, is not in runnable_ and counts the leader's
//    whole work as a step of its own
struct JobEntry {
  std::shared_ptr<Job> job;
  JobSpec spec;
  uint64_t sequence = 0;
  // Position in the fair order, in predicted seconds of service.
  double service_tag = 0;
  int64_t round = 0;
  bool prepared = false;
  int64_t tiles = 0;
  int64_t next_tile = 0;
  int64_t tiles_done = 0;
  int steps_running = 0;
  double predicted_seconds = 0;
  // Of the tiles that are done.
  double seconds_done = 0;
  // Of a tile of the stage.
  double tile_share = 0;
  std::optional<absl::Status> end;
  JobEntry* leader = nullptr;
  std::vector<JobEntry*> riders;
  // The end of a leader that goes on for its riders.
  std::optional<absl::Status> own_end;
  Time submitted;
  std::optional<Time> taken;
  std::optional<Time> compute_begin;
  JobTimings timings;

  [[nodiscard]] auto Rank() const {
    return std::make_tuple(-int64_t{spec.priority}, round, spec.deadline.value_or(Time::max()), sequence);
  }
  [[nodiscard]] double TileSeconds() const { return predicted_seconds * tile_share; }
  [[nodiscard]] double SecondsLeft() const { return predicted_seconds - seconds_done; }
  [[nodiscard]] bool Late(Time now) const { return spec.deadline.has_value() && *spec.deadline <= now; }
  // Whether somebody waits for the work of this leader.
  [[nodiscard]] bool HasLiveRiders() const {
    return std::any_of(riders.begin(), riders.end(), [](const JobEntry* rider) { return !rider->end.has_value(); });
  }
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_JOB_ENTRY_H_
