// Time, injected, so that tests set it by hand.
#ifndef ATTND_CORE_RUNTIME_CLOCK_H_
#define ATTND_CORE_RUNTIME_CLOCK_H_

#include <chrono>

namespace attnd {

using Time = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Time Now() const = 0;

  // The monotonic clock of the machine. Never destroyed.
  static const Clock& Real();
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_CLOCK_H_
