#include "tests/bench/budget.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "tests/bench/runs.h"
#include "tests/bench/stages.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {
namespace {

constexpr double kYardstickSeconds = 0.003;

// Some stages take less time than looking at the clock does: they run in batches.
double SecondsPerRun(const std::function<void()>& run, double least) {
  for (int batch = 1;; batch *= 2) {
    const double begin = ThreadSeconds();
    for (int i = 0; i < batch; ++i) run();
    const double elapsed = ThreadSeconds() - begin;
    if (elapsed >= least) return elapsed / batch;
  }
}

}  // namespace

bool HasBudget(const Row& row) {
  const bool alone = row.option == Option::kNone || row.option == Option::kWindow || row.option == Option::kBoolMask;
  return alone && row.work == Work::kAttention && row.workers == 1 &&
         (row.measure == Measure::kShareOfPeak || row.option == Option::kBoolMask);
}

std::optional<Budget> MeasureBudget(const Row& row, const MeasureOptions& options) {
  const std::vector<Stage> stages = StagesOf(row, options.engine);
  if (stages.empty() || CyclesPerSecond() == 0) return std::nullopt;
  KernelRun whole(row, options.engine);
  whole();
  const auto flops_per_pair = 2 * static_cast<double>(row.dims.head_dim + row.dims.value_dim);
  const double pairs = whole.flops() / flops_per_pair;

  std::vector<double> totals;
  std::vector<double> limits;
  std::vector<std::vector<double>> costs(stages.size());
  for (int i = 0; i < options.most_rounds; ++i) {
    const double clock = CyclesPerSecond();
    totals.push_back(clock * SecondsPerRun([&whole] { whole(); }, options.turn_seconds) / pairs);
    limits.push_back(clock * flops_per_pair / FmaPeak(1, kYardstickSeconds));
    for (size_t s = 0; s < stages.size(); ++s) {
      costs[s].push_back(clock * SecondsPerRun(stages[s].run, kYardstickSeconds) / stages[s].pairs);
    }
  }
  Budget budget{Median(totals), {}, Median(limits)};
  double known = 0;
  for (size_t s = 0; s < stages.size(); ++s) {
    const double cost = Median(costs[s]);
    budget.stages[stages[s].name] += cost;
    known += cost;
  }
  budget.stages["rest"] = budget.total - known;
  return budget;
}

}  // namespace attnd::bench
