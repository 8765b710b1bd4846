// Whether calls were sent when they were meant to be.
#ifndef ATTND_CLIENT_LOAD_ARRIVAL_CHECK_H_
#define ATTND_CLIENT_LOAD_ARRIVAL_CHECK_H_

#include <vector>

#include "client/load/run_result.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// A send in an open loop, in times from the start of the measured part.
struct Arrival {
  Duration intended{};
  Duration sent{};
};

// Of at least two sends to `point` in a measured part of `length`, in any order. Nothing is
// said of fewer.
ArrivalCheck CheckArrivals(const LoadPoint& point, Duration length, std::vector<Arrival> arrivals);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_ARRIVAL_CHECK_H_
