// Ways to compute a row, each ready to be run again and again.
#ifndef ATTND_TESTS_BENCH_RUNS_H_
#define ATTND_TESTS_BENCH_RUNS_H_

#include <vector>

#include "core/attention/engine.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"
#include "tests/bench/case.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

// The kernel alone: the tiles one after the other on the calling thread, tensors in place.
// Thread-compatible.
class KernelRun {
 public:
  KernelRun(const Row& row, EngineKind engine);

  void operator()();
  // Makes the output's pages resident.
  void TouchOutput();
  // FLOPs on visible pairs of a run, once there has been one.
  [[nodiscard]] double flops() const { return flops_; }
  // Of inputs and output.
  [[nodiscard]] int64_t tensor_bytes() const { return plan_.input_bytes + plan_.output_bytes; }

 private:
  const EngineKind engine_;
  AttentionPlan plan_;
  BufferPool pool_{{}};
  Buffer input_;
  Buffer output_;
  AttentionData data_;
  std::vector<Tile> tiles_;
  double flops_ = 0;
};

// Whole requests: gather, tiles, result. Thread-compatible.
class RequestRun {
 public:
  // With `workers` 0 everything happens on the calling thread.
  RequestRun(const Row& row, EngineKind engine, int workers);

  void operator()();
  // As in KernelRun.
  [[nodiscard]] double flops() const { return flops_; }
  // Seconds of the last run from its first tile's start to its last tile's end.
  [[nodiscard]] double compute_seconds() const { return compute_seconds_; }

 private:
  const EngineKind engine_;
  const int workers_;
  const PlannedRequest planned_;
  BufferPool pool_{{}};
  double flops_ = 0;
  double compute_seconds_ = 0;
  // Last: no job outlives what it reports to.
  Executor executor_;
};

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_RUNS_H_
