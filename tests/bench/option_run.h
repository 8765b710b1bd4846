// Runs of rows with options, through a job: gather, tiles, result, on this thread.
#ifndef ATTND_TESTS_BENCH_OPTION_RUN_H_
#define ATTND_TESTS_BENCH_OPTION_RUN_H_

#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/runtime/buffer_pool.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

// Thread-compatible.
class OptionRun {
 public:
  explicit OptionRun(const Row& row);

  void operator()();
  // FLOPs on visible pairs of a run, once there has been one.
  [[nodiscard]] double flops() const { return flops_; }

 private:
  AttentionRequest request_;
  AttentionPlan plan_;
  BufferPool pool_{{}};
  double flops_ = 0;
};

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_OPTION_RUN_H_
