// What the weights of a head are like, computed from all of them: those of the contract's
// Diagnostics that label a picture.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_STATISTICS_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_STATISTICS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "client/attnctl/heatmap/weights_row.h"
#include "core/attention/diagnostics.h"

namespace attnd::attnctl {

struct HeadFindings {
  HeadPattern pattern;
  // In nats; NaN if no row counts.
  double entropy = 0;
  // NaN likewise; 1 where every row sees one key.
  double evenness = 0;
};

// Collects one head's rows, in any order, each once. Sums in float64. Thread-compatible.
class WeightsStatistics {
 public:
  // Query i is at the position of key i + *offset; if there is no offset nobody knows the
  // positions, and no pattern that goes by them is found. The first key used, which can be a
  // sink, is key 0.
  WeightsStatistics(int64_t kv_len, std::optional<int64_t> offset);

  void Add(int64_t query, const WeightsRow& row);

  [[nodiscard]] HeadFindings Find() const;

 private:
  void AddPositions(int64_t position, const WeightsRow& row, int64_t visible);

  std::optional<int64_t> offset_;
  // Of rows that count.
  int64_t rows_ = 0;
  double entropy_ = 0;
  // Of weights over their sum.
  double entropy_of_sum_ = 0;
  double largest_entropy_ = 0;
  // Means times rows_.
  PatternMasses masses_;
  std::vector<double> columns_;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_STATISTICS_H_
