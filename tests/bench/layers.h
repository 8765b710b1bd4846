// Rows of matrix products and whole layers, each ready to be run again and again.
#ifndef ATTND_TESTS_BENCH_LAYERS_H_
#define ATTND_TESTS_BENCH_LAYERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/attention/engine.h"
#include "core/linear/multihead_job.h"
#include "core/linear/packed_weights.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

// One product with packed weights and a bias on the calling thread. Thread-compatible.
class LinearRun {
 public:
  explicit LinearRun(const Row& row);

  void operator()();
  [[nodiscard]] double flops() const {
    return 2 * static_cast<double>(rows_) * static_cast<double>(weights_.in()) * static_cast<double>(weights_.out());
  }

 private:
  const int64_t rows_;
  PackedMatrix weights_;
  std::vector<float> bias_;
  std::vector<float> x_;
  std::vector<float> y_;
};

// `requests` requests at once by the same weights, through an executor with `workers` threads,
// or on the calling thread if 0: embeddings to output. Thread-compatible.
class LayerRun {
 public:
  LayerRun(const Row& row, EngineKind engine, int workers, int requests);

  void operator()();
  // Of all requests, pairs as they are visible.
  [[nodiscard]] double flops() const { return flops_; }

 private:
  const EngineKind engine_;
  const int workers_;
  const int requests_;
  std::shared_ptr<const PackedWeights> weights_;
  std::vector<float> embeddings_;
  PlannedMultiHead planned_;
  BufferPool pool_{{}};
  double flops_ = 0;
  // Last: no job outlives what it reports to.
  Executor executor_;
};

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_LAYERS_H_
