// Where a row's time goes.
#ifndef ATTND_TESTS_BENCH_BUDGET_H_
#define ATTND_TESTS_BENCH_BUDGET_H_

#include <map>
#include <optional>
#include <string>

#include "tests/bench/measure.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

// In cycles of one core per visible pair.
struct Budget {
  // Of the kernel, start to end.
  double total = 0;
  // By stage, each run alone; "rest" is what they leave of the total.
  std::map<std::string, double> stages;
  // What the products take at the FMA peak.
  double limit = 0;
};

// Whether a row's time is worth taking apart.
bool HasBudget(const Row& row);

// Nothing if the engine's stages cannot be run alone, or the clock is not known.
std::optional<Budget> MeasureBudget(const Row& row, const MeasureOptions& options);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_BUDGET_H_
