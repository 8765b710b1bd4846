// How slow attention may be before that is a regression.
#ifndef ATTND_TESTS_BENCH_PERF_BOUNDS_H_
#define ATTND_TESTS_BENCH_PERF_BOUNDS_H_

#include <map>
#include <string>
#include <vector>

#include "tests/bench/rows.h"

namespace attnd::bench {

// Instructions of the AVX2 code per visible pair: the same on every machine.
struct CountedRow {
  Row row;
  // By name of the engine, as measured with GCC 12.2 and -O3.
  std::map<std::string, double> measured;
};

// Compilers may differ by this much, and so may a change that means no harm.
inline constexpr double kInstructionSlack = 1.10;

std::vector<CountedRow> CountedRows();

// Least share of the yardstick on the machine's widest vectors, for a row of AllRows(). Low
// enough for any machine at any load: it finds what has gone wrong, not what has slipped.
struct LeastShare {
  std::string row;
  // By name of the engine.
  std::map<std::string, double> share;
};

std::vector<LeastShare> LeastShares();

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_PERF_BOUNDS_H_
