// How many CPUs this process may use.
#ifndef ATTND_CORE_RUNTIME_CPU_COUNT_H_
#define ATTND_CORE_RUNTIME_CPU_COUNT_H_

#include <string>

namespace attnd {

// The smallest of the affinity mask and the CPU quotas (rounded up) of the process's
// cgroup and its ancestors, v1 or v2; at least 1. `root` is where /proc and /sys are
// looked for; tests give another. Thread-safe.
int AvailableCpus(const std::string& root = "");

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_CPU_COUNT_H_
