#include "client/load/exact_sleep.h"

#include <sys/prctl.h>

#include <algorithm>
#include <ctime>

namespace attnd::load {
namespace {

using std::chrono::microseconds;

constexpr Duration kLeastMargin = microseconds(5);
// Who waits running for longer than that is soon made to pause, for milliseconds, when others
// need the core, while who sleeps a lot is woken first.
constexpr Duration kMostMargin = microseconds(60);
// Between looks at `stop`.
constexpr Duration kLongestSleep = std::chrono::milliseconds(20);

void SleepUntil(Time time) {
  const auto since_epoch = time.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
  timespec wake{};
  wake.tv_sec = seconds.count();
  wake.tv_nsec = std::chrono::nanoseconds(since_epoch - seconds).count();
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, nullptr);
}

}  // namespace

ExactSleep::ExactSleep() : margin_(microseconds(20)) { prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); }

bool ExactSleep::Until(Time time, const std::atomic<bool>& stop) {
  for (Time now = Clock::Real().Now();; now = Clock::Real().Now()) {
    if (stop) return false;
    const Duration left = time - now;
    if (left <= margin_) break;
    if (left > kLongestSleep) {
      SleepUntil(now + kLongestSleep / 2);
      continue;
    }
    SleepUntil(time - margin_);
    // Moves to where one in fifty is too late.
    const bool late = Clock::Real().Now() > time;
    margin_ = std::clamp<Duration>(late ? margin_ * 5 / 4 : margin_ * 199 / 200, kLeastMargin, kMostMargin);
    break;
  }
  while (Clock::Real().Now() < time) {
  }
  return true;
}

}  // namespace attnd::load
