// Rows and yardsticks, measured in turns so that both meet the same machine.
#ifndef ATTND_TESTS_BENCH_MEASURE_H_
#define ATTND_TESTS_BENCH_MEASURE_H_

#include <map>
#include <string>
#include <vector>

#include "tests/bench/rows.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {

struct MeasureOptions {
  // Turns per row. Raising it steadies the medians.
  int rounds = 15;
  // Shortest time that a turn measures, in seconds.
  double turn_seconds = 0.01;
};

struct RowResult {
  Row row;
  // Median over the turns of the share or ratio.
  double value = 0;
  // Median yardstick: FLOP/s, bytes/s, or seconds of one worker or of the plain shape.
  double baseline = 0;
  // Median seconds of one run, and the number of runs.
  double seconds = 0;
  int runs = 0;
  double target = 0;
  // Share of the same yardstick by name of the peer; filled by MeasurePeers.
  std::map<std::string, double> peers;
};

// What the yardsticks say of the machine, by number of threads.
struct MachineResult {
  std::map<int, double> fma_peak;
  std::map<int, double> read_bandwidth;
  double cycles_per_second = 0;
};

MachineResult MeasureMachine(const ReadYardstick& read, const MeasureOptions& options);
RowResult MeasureRow(const Row& row, const ReadYardstick& read, const MeasureOptions& options);

double Median(std::vector<double> values);

// FLOPs on visible pairs, or bytes of key and value: what a row's share counts. REQUIRES: the
// row has no option.
double WorkOf(const Row& row);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_MEASURE_H_
