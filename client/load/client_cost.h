// What driving the calls takes of the machine.
#ifndef ATTND_CLIENT_LOAD_CLIENT_COST_H_
#define ATTND_CLIENT_LOAD_CLIENT_COST_H_

#include <cstdint>
#include <ctime>
#include <string_view>
#include <vector>

#include "client/load/run_result.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// CPU time of a machine since its start, in ticks.
struct MachineTime {
  int64_t all = 0;
  // What the host of a virtual machine gave to others while this one had something to run.
  int64_t stolen = 0;
};

// Of the text of /proc/stat; nothing of any other text.
MachineTime ParseMachineTime(std::string_view text);

// CPU time of this process, of some of its threads and of the machine, from its making on.
// Thread-compatible.
class CostMeter {
 public:
  // `threads` are CPU clocks (pthread_getcpuclockid) of threads that outlive it.
  explicit CostMeter(std::vector<clockid_t> threads);

  [[nodiscard]] ClientCost Read() const;

 private:
  std::vector<clockid_t> threads_;
  std::vector<double> thread_seconds_;
  double process_seconds_;
  MachineTime machine_;
  Time begin_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_CLIENT_COST_H_
