// Latencies of any number of calls in a fixed amount of memory.
#ifndef ATTND_CLIENT_LOAD_LATENCY_HISTOGRAM_H_
#define ATTND_CLIENT_LOAD_LATENCY_HISTOGRAM_H_

#include <cstdint>
#include <vector>

#include "core/runtime/clock.h"

namespace attnd::load {

// Counts by value, in buckets whose width is at most 1/1024 of the values in them: what
// HdrHistogram (hdrhistogram.org) promises with three significant digits. Values are whole
// nanoseconds from 0 to 2^42 (73 minutes); those beyond count as the nearest of these.
// Thread-compatible.
class LatencyHistogram {
 public:
  void Record(Duration value);
  void Add(const LatencyHistogram& other);

  // Seconds such that `share` (0..1) of the values are not above; at most 1/1024 over the
  // value that sorting would find, never under it. 0 if there are none.
  [[nodiscard]] double Percentile(double share) const;

  [[nodiscard]] int64_t count() const { return count_; }
  // Values not above `limit`, to the precision of the buckets.
  [[nodiscard]] int64_t CountUpTo(Duration limit) const;
  // In seconds, exact; 0 if there are none.
  [[nodiscard]] double mean() const;
  [[nodiscard]] double min() const { return static_cast<double>(count_ == 0 ? 0 : min_) * 1e-9; }
  [[nodiscard]] double max() const { return static_cast<double>(max_) * 1e-9; }

 private:
  // Counts of the buckets, in pages that are empty until one of their values is seen.
  std::vector<std::vector<int64_t>> pages_;
  int64_t count_ = 0;
  double sum_ = 0;
  int64_t min_ = 0;
  int64_t max_ = 0;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_LATENCY_HISTOGRAM_H_
