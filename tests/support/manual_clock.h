// Time that stands still until a test moves it.
#ifndef ATTND_TESTS_SUPPORT_MANUAL_CLOCK_H_
#define ATTND_TESTS_SUPPORT_MANUAL_CLOCK_H_

#include <atomic>
#include <chrono>

#include "core/runtime/clock.h"

namespace attnd {

// Thread-safe.
class ManualClock : public Clock {
 public:
  [[nodiscard]] Time Now() const override { return Time(Duration(ticks_.load())); }

  // REQUIRES: `by` >= 0.
  void Advance(Duration by) { ticks_ += by.count(); }

 private:
  // Not 0, so that code which takes a default Time for "unset" shows itself.
  std::atomic<Duration::rep> ticks_{Duration(std::chrono::hours(1)).count()};
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_MANUAL_CLOCK_H_
