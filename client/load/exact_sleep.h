// Sleeping to within microseconds.
#ifndef ATTND_CLIENT_LOAD_EXACT_SLEEP_H_
#define ATTND_CLIENT_LOAD_EXACT_SLEEP_H_

#include <atomic>

#include "core/runtime/clock.h"

namespace attnd::load {

// A thread that sleeps wakes up late, by a time that depends on the machine. So it sleeps until
// a little before and then waits running; how much before is learnt from how late it was.
// Made and used by one thread.
class ExactSleep {
 public:
  // Asks the kernel for exact timers for this thread.
  ExactSleep();

  // Returns true at `time`, or false soon after `stop` was set.
  bool Until(Time time, const std::atomic<bool>& stop);

 private:
  Duration margin_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_EXACT_SLEEP_H_
