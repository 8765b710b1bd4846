// A job whose every step is a test's to decide, and a log of the steps of several jobs.
#ifndef ATTND_TESTS_SUPPORT_FAKE_JOB_H_
#define ATTND_TESTS_SUPPORT_FAKE_JOB_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/runtime/executor.h"

namespace attnd {

// Steps such as "a:prepare", "a:0", "a:done". For executors without workers.
using StepLog = std::vector<std::string>;

// Thread-compatible: for executors without workers.
class FakeJob : public Job {
 public:
  FakeJob(std::string name, int64_t tiles, StepLog* log = nullptr) : name_(std::move(name)), tiles_(tiles), log_(log) {}

  absl::StatusOr<int64_t> Prepare() override {
    Log("prepare");
    ++prepared;
    if (on_prepare) on_prepare();
    if (!prepare_status.ok()) return prepare_status;
    return tiles_;
  }
  absl::Status RunTile(int64_t tile) override {
    Log(std::to_string(tile));
    ++tiles_run;
    if (on_tile) on_tile();
    return tile == failing_tile ? absl::DataLossError("tile failed") : absl::OkStatus();
  }
  int64_t NextStage() override {
    if (stages_begun == more_stages.size()) return 0;
    Log("stage");
    return more_stages[stages_begun++];
  }
  [[nodiscard]] double StageShare() const override { return stage_share; }
  [[nodiscard]] bool Prepares() const override { return stages_begun < preparing_stages; }
  bool Join(Job& other) override {
    if (!joins) return false;
    Log("join " + dynamic_cast<FakeJob&>(other).name_);
    return true;
  }
  void Done(const absl::Status& status, const JobTimings& job_timings) override {
    Log("done");
    ++done;
    result = status;
    timings = job_timings;
    if (on_done) on_done();
  }

  std::function<void()> on_prepare;
  std::function<void()> on_tile;
  std::function<void()> on_done;
  absl::Status prepare_status;
  int64_t failing_tile = -1;
  // Tiles of the stages after the first.
  std::vector<int64_t> more_stages;
  size_t stages_begun = 0;
  // Of all stages, the first so many belong to the preparation.
  size_t preparing_stages = 0;
  double stage_share = 1;
  // Whether it takes over any other.
  bool joins = false;

  int prepared = 0;
  int64_t tiles_run = 0;
  int done = 0;
  // Set by Done.
  std::optional<absl::Status> result;
  JobTimings timings;

 private:
  void Log(const std::string& step) {
    if (log_ != nullptr) log_->push_back(name_ + ":" + step);
  }

  const std::string name_;
  const int64_t tiles_;
  StepLog* const log_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_FAKE_JOB_H_
