// What is measured.
#ifndef ATTND_TESTS_BENCH_ROWS_H_
#define ATTND_TESTS_BENCH_ROWS_H_

#include <string>
#include <vector>

#include "core/attention/plan.h"

namespace attnd::bench {

enum class Measure {
  kShareOfPeak,       // FLOPs on visible pairs over the FMA peak of as many threads
  kShareOfBandwidth,  // bytes of key and value over the read bandwidth of as many threads
  kWorkersRatio,      // speed of `workers` workers over that of one, through the executor
};

struct Row {
  // Stable: other tools select by it.
  std::string name;
  Measure measure = Measure::kShareOfPeak;
  Dims dims;
  bool causal = false;  // bottom right
  int workers = 1;
  // Targets where the ISA is AVX2 and AVX-512.
  double target_avx2 = 0;
  double target_avx512 = 0;
};

// All rows, in the order of the table.
std::vector<Row> AllRows();

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_ROWS_H_
