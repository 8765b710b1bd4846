// Random numbers that are the same on every platform, which std's distributions are not.
#ifndef ATTND_TESTS_SUPPORT_RANDOM_H_
#define ATTND_TESTS_SUPPORT_RANDOM_H_

#include <cstdint>

namespace attnd {

// splitmix64. Thread-compatible.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  // In [0, 1), a multiple of 2^-24.
  float Uniform() { return static_cast<float>(Bits() >> 40) * 0x1p-24F; }

  // In [0, bound). REQUIRES: bound > 0.
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Bits() % static_cast<uint64_t>(bound)); }

  // Mean 0, variance 1, within 6: a sum of twelve uniform numbers, so no libm takes part.
  float Normal() {
    int64_t sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<int64_t>(Bits() >> 40);
    return static_cast<float>(sum - (int64_t{6} << 24)) * 0x1p-24F;
  }

 private:
  uint64_t state_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_RANDOM_H_
