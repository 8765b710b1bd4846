#include "client/attnctl/heatmap/map_labels.h"

#include <cmath>

namespace attnd::attnctl {

void LabelHead(const HeadLabels& labels, size_t index, picture::HeadMap* head) {
  if (index < labels.patterns.size()) head->pattern = labels.patterns[index];
  if (index < labels.scores.size() && !head->pattern.empty()) {
    head->pattern_score = static_cast<double>(labels.scores[index]);
  }
  if (index < labels.entropies.size() && !std::isnan(labels.entropies[index])) {
    head->entropy = static_cast<double>(labels.entropies[index]);
  }
}

picture::HeadMap MapOf(const PooledHead& pooled, int64_t q_len, int64_t kv_len) {
  picture::HeadMap head;
  head.rows = pooled.rows;
  head.columns = pooled.columns;
  head.mean.assign(pooled.mean.begin(), pooled.mean.end());
  const bool single = pooled.rows == q_len && pooled.columns == kv_len;
  if (!single) head.max.assign(pooled.max.begin(), pooled.max.end());
  return head;
}

}  // namespace attnd::attnctl
