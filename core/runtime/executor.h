// The worker pool and its queue. Requests become jobs, jobs become tiles, workers take
// one tile at a time, so a small job never waits behind a large one for longer than a
// tile, and many jobs share the pool.
//
// Order among runnable jobs: higher priority first; then by rounds of service, a round
// being `quantum_seconds` of work, so that large jobs take turns; a new job starts one
// round ahead of where fair shares are by then, so that work shorter than a round need
// not wait for a round's end; within a round, earliest deadline, then first come.
//
// Jobs that gain by it are computed together if they wait at the same time (Job::Join). One of
// them that is cancelled or late is left out of the answers, not of the work.
//
// Jobs so short that handing them to a worker would take longer run on the thread that submits
// them, if no other job waits and none of a higher priority is under way.
//
// Admission is bounded in jobs, bytes and predicted seconds of work; over a bound, Submit
// refuses at once. Cancellation and deadline are looked at before every tile.
#ifndef ATTND_CORE_RUNTIME_EXECUTOR_H_
#define ATTND_CORE_RUNTIME_EXECUTOR_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/runtime/clock.h"

namespace attnd {

// Where a job's time went.
struct JobTimings {
  // Submit until a worker took it.
  Duration queue{};
  // Prepare, and stages that Job::Prepares says belong to it.
  Duration prepare{};
  // Start of the first tile after that to the end of the last.
  Duration compute{};
};

// Work cut into tiles, and these into stages of which one is done before the next begins. The
// executor calls the virtual functions, never two of them at the same time except RunTile,
// and Done exactly once, last.
class Job {
 public:
  virtual ~Job() = default;

  // Makes the job ready and returns the number of tiles of its first stage (0: there is
  // nothing to do, the job is over). Called once, on a worker. On failure Done gets the
  // status.
  virtual absl::StatusOr<int64_t> Prepare() = 0;

  // Computes tile 0 <= `tile` < tiles of the stage. Called once per tile, from several
  // workers at the same time. After a failure no further tile is started and Done gets the
  // status.
  virtual absl::Status RunTile(int64_t tile) = 0;

  // All tiles of a stage are done: begins the next and returns its number of tiles; 0 when
  // there is none. Called with the executor's lock held: must not take long.
  virtual int64_t NextStage() { return 0; }

  // Takes over the work of `other`, which waits for its first step and has the same
  // JobSpec::share_key: this job's steps do it from now on, and once they are over both get
  // Done. False if that cannot be. Called before Prepare, with the executor's lock held.
  virtual bool Join([[maybe_unused]] Job& other) { return false; }

  // Whether the current stage still makes the job ready, as JobTimings tells. Called as
  // NextStage is.
  [[nodiscard]] virtual bool Prepares() const { return false; }

  // Part of JobSpec::flops that the tiles of the current stage take together, in 0..1. Called
  // as NextStage is.
  [[nodiscard]] virtual double StageShare() const { return 1; }

  // The job is over: OK, the first failure, kCancelled or kDeadlineExceeded. Called on a
  // worker or on the thread that calls Cancel or Submit, with no lock held.
  virtual void Done(const absl::Status& status, const JobTimings& timings) = 0;
};

struct JobSpec {
  // Higher first.
  int priority = 0;
  // No deadline if unset.
  std::optional<Time> deadline = std::nullopt;
  // Predicted cost in floating-point operations, whatever else the job does included;
  // orders and bounds the queue, and is what speed is measured in.
  double flops = 0;
  // Memory held until Done; bounds the queue.
  int64_t bytes = 0;
  // Jobs that wait with the same key are offered to Job::Join when a worker takes the first of
  // them; nullptr: never. No job waits for others to come.
  const void* share_key = nullptr;
};

struct ExecutorStats {
  int workers = 0;
  // Admitted and not done; of these, waiting for a first worker.
  int64_t jobs = 0;
  int64_t waiting = 0;
  // Of the admitted jobs and elsewhere.
  int64_t bytes = 0;
  double predicted_seconds = 0;
  // Age of the longest-waiting job that no worker has taken.
  Duration oldest_wait{};
  // Since construction.
  double busy_seconds = 0;
  double flops_done = 0;
  int64_t tiles_done = 0;
  // Measured speed of one worker, FLOP per second.
  double worker_flops_per_second = 0;
};

// Thread-safe.
class Executor {
 public:
  struct Options {
    // Worker threads. 0: none; the caller drives RunOne (tests).
    int workers = 1;
    // Added to the workers' nice value, so that the thread that talks to clients is
    // never starved by compute.
    int nice = 10;
    // Bounds of admission. Raising them trades refusals for waiting and memory. A job
    // over a byte or second bound on its own is admitted when nothing else is.
    int64_t max_jobs = 256;
    int64_t max_bytes = int64_t{4} << 30;
    double max_predicted_seconds = 60;
    // Bytes that count against max_bytes beside those of admitted jobs, such as responses
    // that clients have yet to read. None if unset. Thread-safe, must not block.
    std::function<int64_t()> bytes_elsewhere = nullptr;
    // A job that is predicted to take less on one worker runs at once, all of it, on the
    // thread that submits it, if no other job waits and none of a higher priority is under
    // way: handing it over would cost more. 0: none does. Raising it keeps that thread from
    // other things for longer.
    double run_here_seconds = 0;
    // Length of a round of service, in predicted seconds of one worker.
    double quantum_seconds = 0.005;
    // Speed assumed until the first jobs have been measured, FLOP per second of one worker.
    double initial_flops_per_second = 2e10;
  };

  // `clock` must outlive the executor.
  Executor(const Options& options, const Clock& clock);
  // Cancels what is left and joins the workers.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Admits `job`. REQUIRES: it has not been admitted before. It may be over, Done included, when
  // this returns (Options::run_here_seconds). On failure the job has not been touched and Done
  // will not be called:
  //   kUnavailable       draining; try another server
  //   kResourceExhausted a bound is reached; RetryAfterOf says when to come back
  //   kDeadlineExceeded  the deadline has passed or is sooner than the job's own
  //                      predicted time on all workers
  absl::Status Submit(std::shared_ptr<Job> job, const JobSpec& spec);

  // Ends `job` with kCancelled: before its next tile if one is running, else now. No
  // effect if it is not admitted or already done.
  void Cancel(const Job* job);

  // Refuses new jobs from now on. Admitted ones go on.
  void StopAdmission();

  // Waits until no job is left or `deadline` has passed, by the machine's clock; true
  // when none is left.
  bool AwaitIdle(Time deadline);

  // Runs one step (a Prepare or a tile) on the calling thread; false if none is ready.
  bool RunOne();

  [[nodiscard]] ExecutorStats Stats() const;

  // Seconds that `flops` take on one worker at the measured speed.
  [[nodiscard]] double PredictSeconds(double flops) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_EXECUTOR_H_
