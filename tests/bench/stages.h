// The steps of a kernel, each to be run alone on the shapes that a row gives it.
#ifndef ATTND_TESTS_BENCH_STAGES_H_
#define ATTND_TESTS_BENCH_STAGES_H_

#include <functional>
#include <string>
#include <vector>

#include "core/attention/engine.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

struct Stage {
  // "qk", "softmax", "pv", "loading" or "masking".
  std::string name;
  std::function<void()> run;
  // Visible pairs of the row that a run is the price of.
  double pairs = 1;
};

// In the order of computation; empty for engines whose steps cannot be run alone, and for
// rows of so few queries that they take another way.
std::vector<Stage> StagesOf(const Row& row, EngineKind engine);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_STAGES_H_
