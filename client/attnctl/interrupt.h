// Ctrl-C as a wish to end early.
#ifndef ATTND_CLIENT_ATTNCTL_INTERRUPT_H_
#define ATTND_CLIENT_ATTNCTL_INTERRUPT_H_

#include <signal.h>  // NOLINT(modernize-deprecated-headers): struct sigaction

#include <array>
#include <atomic>

namespace attnd::attnctl {

// While it exists, the first SIGINT or SIGTERM sets a flag and the second one kills, as ever.
// One at a time. Thread-compatible.
class InterruptFlag {
 public:
  InterruptFlag();
  // Puts the handlers back that were there.
  ~InterruptFlag();
  InterruptFlag(const InterruptFlag&) = delete;
  InterruptFlag& operator=(const InterruptFlag&) = delete;

  // There is but one.
  [[nodiscard]] static const std::atomic<bool>& flag();

 private:
  std::array<struct sigaction, 2> before_ = {};
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_INTERRUPT_H_
