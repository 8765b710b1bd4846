// Memory that a run needs.
#ifndef ATTND_TESTS_BENCH_MEMORY_H_
#define ATTND_TESTS_BENCH_MEMORY_H_

#include "core/attention/engine.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

struct MemoryUse {
  // Most that was resident during the run beyond what was there before it, inputs and output
  // among that; negative where the system does not tell. The system's own count is off by some
  // 100 KiB.
  double extra_mib = -1;
  // Inputs and output.
  double tensor_mib = 0;
  double seconds = 0;
};

// Runs the row's kernel once, on a thread that has no scratch yet.
MemoryUse MeasureMemory(const Row& row, EngineKind engine);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_MEMORY_H_
