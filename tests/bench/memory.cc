#include "tests/bench/memory.h"

#include <malloc.h>

#include <fstream>
#include <string>
#include <thread>

#include "tests/bench/runs.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {
namespace {

constexpr double kMib = 1 << 20;

// A size line of /proc/self/status, in MiB; negative if there is none.
double StatusMib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == name + ":" && status >> kib) return kib / 1024;
  }
  return -1;
}

// The peak of resident memory starts anew; false if the system cannot do that.
bool ResetPeak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5";
  return !file.flush().fail();
}

}  // namespace

MemoryUse MeasureMemory(const Row& row, EngineKind engine) {
  MemoryUse use;
  KernelRun run(row, engine);
  run.TouchOutput();
  use.tensor_mib = static_cast<double>(run.tensor_bytes()) / kMib;
  // Pages that earlier rows left in the heap would hide what this one takes.
  malloc_trim(0);
  std::thread fresh([&] {
    const bool reset = ResetPeak();
    const double before = StatusMib("VmRSS");
    const double begin = ThreadSeconds();
    run();
    use.seconds = ThreadSeconds() - begin;
    const double peak = StatusMib("VmHWM");
    if (reset && before >= 0 && peak >= before) use.extra_mib = peak - before;
  });
  fresh.join();
  return use;
}

}  // namespace attnd::bench
