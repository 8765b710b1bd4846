// When calls are to be sent in an open loop, and which.
#ifndef ATTND_CLIENT_LOAD_ARRIVALS_H_
#define ATTND_CLIENT_LOAD_ARRIVALS_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "client/load/run_result.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// Calls per second that are intended at `time` from the start of the measured part, which
// takes `length`. Negative times are those of the warm-up, at the rate of the start.
double RateAt(const LoadPoint& point, Duration time, Duration length);

// The intended send times of a run, one by one: a pure function of the arguments.
// Thread-compatible.
class Arrivals {
 public:
  // REQUIRES: an open loop with rates above 0 (of a ramp, one of them may be 0).
  Arrivals(const LoadPoint& point, Duration warm_up, Duration length, uint64_t seed);

  // From the start of the measured part, so those of the warm-up are negative. Never before
  // the last one; without end.
  Duration Next();

 private:
  [[nodiscard]] double NextOfRamp() const;

  const LoadPoint point_;
  const double warm_up_;
  const double length_;
  std::mt19937_64 random_;
  // Arrivals so far; those of a ramp's warm-up, and when the last one was.
  int64_t count_ = 0;
  int64_t warm_up_count_ = 0;
  double last_;
};

// For the WeightedChoice of a thread beside the Arrivals of `seed`: the two are independent of
// each other, and of those of other threads.
uint64_t ChoiceSeed(uint64_t seed, int thread);

// Draws indexes by weight, the same ones for the same seed. Thread-compatible.
class WeightedChoice {
 public:
  // REQUIRES: weights above 0, at least one.
  WeightedChoice(const std::vector<double>& weights, uint64_t seed);
  size_t Next();

 private:
  // Sums up to and with each weight.
  std::vector<double> sums_;
  std::mt19937_64 random_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_ARRIVALS_H_
