// What the machine can do at best: the measures that results are divided by.
#ifndef ATTND_TESTS_BENCH_YARDSTICK_H_
#define ATTND_TESTS_BENCH_YARDSTICK_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/attention_problem.h"

namespace attnd::bench {

// Limits the instruction sets used from now on. `isa` is "avx2", "avx512" or empty for
// all. Returns false if the machine lacks it. Call before anything else here or in core.
bool LimitIsa(const std::string& isa);

// Time that the calling thread has computed, in seconds. What one thread does is measured
// by it, kernels and yardsticks alike: turns that other processes take do not count.
double ThreadSeconds();

// The instruction set of the yardsticks, such as "AVX2" or "AVX512".
std::string YardstickIsa();

// Floating-point operations per second of independent multiply-adds in registers at the
// widest vectors, summed over `threads` at the same time, each for about `seconds`.
double FmaPeak(int threads, double seconds);

// Clock of the calling thread's core while it computes, in Hz, from a chain of dependent
// multiplications of 3 cycles each; 0 where that latency is not known.
double CyclesPerSecond();

// Memory of `threads` blocks, far larger than the caches, and the speed of reading it.
class ReadYardstick {
 public:
  explicit ReadYardstick(int threads);
  // Bytes per second, summed over the first `threads` blocks read at the same time, once each.
  [[nodiscard]] double BytesPerSecond(int threads) const;

 private:
  std::vector<AlignedFloats> blocks_;
};

// Keeps every core out of its sleep states by threads that run only when nothing else does.
class Spinners {
 public:
  Spinners();
  ~Spinners();
  Spinners(const Spinners&) = delete;
  Spinners& operator=(const Spinners&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_YARDSTICK_H_
