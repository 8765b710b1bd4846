// Other libraries on the same shapes, in the same run, by a script of their own.
#ifndef ATTND_TESTS_BENCH_PEERS_H_
#define ATTND_TESTS_BENCH_PEERS_H_

#include <string>
#include <vector>

#include "tests/bench/measure.h"

namespace attnd::bench {

// Fills `peers` of the rows that others can compute. Returns an empty string, or why no
// peer was measured and how to get one.
std::string MeasurePeers(std::vector<RowResult>& rows, const MeasureOptions& options);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_PEERS_H_
