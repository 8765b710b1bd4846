// Words and numbers below heads that somebody else computed.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_LABELS_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_LABELS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/picture/attention_map.h"

namespace attnd::attnctl {

// Of heads, [batch, heads]; each list may be shorter or empty.
struct HeadLabels {
  std::vector<std::string> patterns;
  std::vector<float> scores;
  std::vector<float> entropies;
};

// Puts what is known of head `index` into `head`.
void LabelHead(const HeadLabels& labels, size_t index, picture::HeadMap* head);

// A heatmap's cells of one head. `max` may be empty.
struct PooledHead {
  int64_t rows = 0;
  int64_t columns = 0;
  std::span<const float> mean;
  std::span<const float> max;
};

// The head of a problem of these lengths.
picture::HeadMap MapOf(const PooledHead& pooled, int64_t q_len, int64_t kv_len);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_LABELS_H_
