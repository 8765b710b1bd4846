// Instructions that a row takes, counted by valgrind.
#ifndef ATTND_TESTS_BENCH_PERF_COUNT_H_
#define ATTND_TESTS_BENCH_PERF_COUNT_H_

#include <optional>
#include <string>

#include "core/attention/engine.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

// What the child of CountInstructions does: runs the row's kernel twice, the second time where
// valgrind counts, and prints the visible pairs of a run.
void RunCounted(const Row& row, EngineKind engine);

// Starts this program again as `arguments` under valgrind, which must end in RunCounted.
// Returns instructions per visible pair, or nothing and the reason in `error`.
std::optional<double> CountInstructions(const std::string& arguments, std::string& error);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_PERF_COUNT_H_
