#include "core/runtime/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string_view>
#include <thread>

namespace attnd {
namespace {

constexpr int kNoLimit = std::numeric_limits<int>::max();

int AffinityCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return static_cast<int>(std::thread::hardware_concurrency());
  return CPU_COUNT(&set);
}

int CpusOf(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return kNoLimit;
  return static_cast<int>(std::min(std::ceil(quota / period), 1e6));
}

// "max 100000" or "50000 100000".
int V2Limit(const std::string& directory) {
  std::ifstream file(directory + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max") return kNoLimit;
  std::istringstream number(quota);
  double value = 0;
  return number >> value ? CpusOf(value, period) : kNoLimit;
}

int V1Limit(const std::string& directory) {
  std::ifstream quota_file(directory + "/cpu.cfs_quota_us");
  std::ifstream period_file(directory + "/cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (!(quota_file >> quota) || !(period_file >> period)) return kNoLimit;
  return CpusOf(quota, period);
}

// The smallest limit of `mount`/`path` and the groups above it. In a container the
// process's path may be the host's while `mount` already is its own group; the walk up
// to the mount point finds the limit either way.
int LimitUpwards(const std::string& mount, std::string path, int (*limit_of)(const std::string&)) {
  int limit = limit_of(mount);
  while (!path.empty() && path != "/") {
    limit = std::min(limit, limit_of(mount + path));
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) break;
    path.resize(slash);
  }
  return limit;
}

bool HasController(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (list.substr(0, comma) == name) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

int CgroupCpus(const std::string& root) {
  int limit = kNoLimit;
  std::ifstream file(root + "/proc/self/cgroup");
  // Lines are "id:controllers:path"; v2 has no controllers.
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      limit = std::min(limit, LimitUpwards(root + "/sys/fs/cgroup", path, V2Limit));
    } else if (HasController(controllers, "cpu")) {
      for (const char* mount : {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}) {
        limit = std::min(limit, LimitUpwards(root + mount, path, V1Limit));
      }
    }
  }
  return limit;
}

}  // namespace

int AvailableCpus(const std::string& root) { return std::max(1, std::min(AffinityCpus(), CgroupCpus(root))); }

}  // namespace attnd
