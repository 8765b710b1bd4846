#include "core/runtime/clock.h"

namespace attnd {
namespace {

class RealClock final : public Clock {
 public:
  [[nodiscard]] Time Now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

const Clock& Clock::Real() {
  static const RealClock* const clock = new RealClock;
  return *clock;
}

}  // namespace attnd
