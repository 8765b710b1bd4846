// How fast work gets done, from a decaying sum of work and of seconds.
#ifndef ATTND_CORE_RUNTIME_SPEED_METER_H_
#define ATTND_CORE_RUNTIME_SPEED_METER_H_

#include <algorithm>
#include <cmath>

namespace attnd {

// Floating-point operations per second. Thread-compatible.
class SpeedMeter {
 public:
  // `initial` is the speed assumed until the first work has been measured.
  explicit SpeedMeter(double initial) : flops_(initial * kInitialWeightSeconds) {}

  // Takes note of `flops` done in `seconds`. Steps so short that they say more about
  // overhead than about speed do not count.
  void Add(double flops, double seconds) {
    if (seconds < kShortestMeasuredSeconds || flops <= 0) return;
    const double keep = std::exp(-seconds / kMemorySeconds);
    flops_ = flops_ * keep + flops;
    seconds_ = seconds_ * keep + seconds;
    best_ = std::max(best_, flops_ / seconds_);
  }

  // Never below a quarter of the best seen: a stretch of work unlike its prediction must
  // not make a server refuse everything after it.
  [[nodiscard]] double flops_per_second() const { return std::max(flops_ / seconds_, best_ * kLeastShareOfBest); }

 private:
  static constexpr double kShortestMeasuredSeconds = 1e-4;
  // Weight of the past, and of the speed assumed at first, in seconds of work.
  static constexpr double kMemorySeconds = 2;
  static constexpr double kInitialWeightSeconds = 0.01;
  static constexpr double kLeastShareOfBest = 0.25;

  double flops_;
  double seconds_ = kInitialWeightSeconds;
  double best_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_SPEED_METER_H_
