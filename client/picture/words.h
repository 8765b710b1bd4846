// What pictures say in words about heads and cells; fit to be drawn, not escaped.
#ifndef ATTND_CLIENT_PICTURE_WORDS_H_
#define ATTND_CLIENT_PICTURE_WORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/picture/attention_map.h"

namespace attnd::picture {

// Whether cells stand for several pairs; if not, cell i is query or key i.
[[nodiscard]] inline bool IsPooled(const HeadMap& head) { return !head.max.empty(); }

// Queries or keys from `first` to before `last`.
struct CellRange {
  int64_t first = 0;
  int64_t last = 0;
};

// What cell `i` of `cells` covers of `length`.
[[nodiscard]] CellRange RangeOf(int64_t i, int64_t cells, int64_t length);

// Lines below a head, such as "sink 0.93" and "entropy 0.41 nats"; why it is empty, if so.
[[nodiscard]] std::vector<std::string> CaptionOf(const HeadMap& head);

// What there is to know of one cell: which queries and keys, and how much weight.
[[nodiscard]] std::string DescribeCell(const AttentionMap& map, const HeadMap& head, int64_t row, int64_t column);

// Such as "each cell: 64 × 64 pairs"; empty if cells are pairs.
[[nodiscard]] std::string DescribePooling(const AttentionMap& map);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_WORDS_H_
