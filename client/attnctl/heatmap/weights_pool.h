// Weights pooled into cells, as the contract's Heatmap has them.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_POOL_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_POOL_H_

#include <cstdint>
#include <vector>

#include "client/attnctl/heatmap/weights_row.h"
#include "client/picture/attention_map.h"

namespace attnd::attnctl {

// Pools one head, whose rows come in any order, each once. Sums in float64.
// Thread-compatible.
class WeightsPool {
 public:
  // At most `cells` down and across. REQUIRES: all are >= 1.
  WeightsPool(int64_t q_len, int64_t kv_len, int64_t cells);

  // REQUIRES: 0 <= query < q_len; the row has kv_len keys.
  void Add(int64_t query, const WeightsRow& row);

  // Sets rows, columns, mean and, if cells are more than a pair, max.
  void Finish(picture::HeadMap* head) const;

 private:
  void AddToCell(int64_t cell, const WeightsRow& row, int64_t begin, int64_t end);

  int64_t q_len_;
  int64_t kv_len_;
  int64_t rows_;
  int64_t columns_;
  // Of each query.
  std::vector<int64_t> row_of_;
  // Where each column begins, and where the last one ends.
  std::vector<int64_t> begins_;
  // Of visible pairs, [rows, columns].
  std::vector<double> sums_;
  std::vector<double> largest_;
  std::vector<int64_t> pairs_;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_POOL_H_
