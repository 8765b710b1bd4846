#include "client/load/client_cost.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

namespace attnd::load {
namespace {

double SecondsOf(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

MachineTime ReadMachineTime() {
  std::ifstream file("/proc/stat");
  std::string line;
  std::getline(file, line);
  return ParseMachineTime(line);
}

}  // namespace

// "cpu  user nice system idle iowait irq softirq steal guest guest_nice"; guests' time is user's.
MachineTime ParseMachineTime(std::string_view text) {
  constexpr int kSteal = 7;
  MachineTime time;
  std::istringstream line{std::string(text.substr(0, text.find('\n')))};
  std::string name;
  if (!(line >> name) || name != "cpu") return {};
  for (int i = 0; i <= kSteal; ++i) {
    int64_t ticks = 0;
    if (!(line >> ticks)) return {};
    time.all += ticks;
    if (i == kSteal) time.stolen = ticks;
  }
  return time;
}

CostMeter::CostMeter(std::vector<clockid_t> threads)
    : threads_(std::move(threads)),
      process_seconds_(SecondsOf(CLOCK_PROCESS_CPUTIME_ID)),
      machine_(ReadMachineTime()),
      begin_(Clock::Real().Now()) {
  for (const clockid_t thread : threads_) thread_seconds_.push_back(SecondsOf(thread));
}

ClientCost CostMeter::Read() const {
  ClientCost cost;
  cost.cpu_seconds = SecondsOf(CLOCK_PROCESS_CPUTIME_ID) - process_seconds_;
  double busiest = 0;
  for (size_t i = 0; i < threads_.size(); ++i) {
    busiest = std::max(busiest, SecondsOf(threads_[i]) - thread_seconds_[i]);
  }
  const double elapsed = Seconds(Clock::Real().Now() - begin_);
  if (elapsed > 0) cost.busiest_thread = std::min(1.0, busiest / elapsed);
  const MachineTime now = ReadMachineTime();
  if (now.all > machine_.all) {
    // Some kernels let it run back.
    const int64_t stolen = std::max<int64_t>(0, now.stolen - machine_.stolen);
    cost.stolen = static_cast<double>(stolen) / static_cast<double>(now.all - machine_.all);
  }
  return cost;
}

}  // namespace attnd::load
