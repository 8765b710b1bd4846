// Rows and yardsticks, measured in turns so that both meet the same machine.
#ifndef ATTND_TESTS_BENCH_MEASURE_H_
#define ATTND_TESTS_BENCH_MEASURE_H_

#include <map>
#include <string>
#include <vector>

#include "core/attention/engine.h"
#include "tests/bench/peers.h"
#include "tests/bench/rows.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {

struct MeasureOptions {
  EngineKind engine = EngineKind::kOnednn;
  // Turns per row: as many as fit in `row_seconds`, within these bounds. Raising them
  // steadies the medians.
  int least_rounds = 3;
  int most_rounds = 15;
  double row_seconds = 2;
  // Shortest time that a turn measures, in seconds.
  double turn_seconds = 0.01;
};

struct RowResult {
  Row row;
  EngineKind engine = EngineKind::kOnednn;
  // Median over the turns of the share or ratio, or MiB.
  double value = 0;
  // Median yardstick: FLOP/s, bytes/s, seconds of what the row is compared with, or MiB of inputs
  // and output.
  double baseline = 0;
  // Median seconds of one run, and the number of turns.
  double seconds = 0;
  int runs = 0;
  double target = 0;
  bool met = false;
  // Share of the same yardstick, and our speed over the peer's, by its name.
  std::map<std::string, double> peers;
  std::map<std::string, double> over_peers;
};

// What the yardsticks say of the machine, by number of threads.
struct MachineResult {
  std::map<int, double> fma_peak;
  std::map<int, double> read_bandwidth;
  double cycles_per_second = 0;
};

MachineResult MeasureMachine(const ReadYardstick& read, const MeasureOptions& options);
// Every turn of ours is followed by one of each of the `peers` that can compute the row.
RowResult MeasureRow(const Row& row, const ReadYardstick& read, const Peers& peers, const MeasureOptions& options);

double Median(std::vector<double> values);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_MEASURE_H_
