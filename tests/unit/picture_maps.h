// Maps of attention to draw.
#ifndef ATTND_TESTS_UNIT_PICTURE_MAPS_H_
#define ATTND_TESTS_UNIT_PICTURE_MAPS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "client/picture/attention_map.h"

namespace attnd::picture {

inline size_t CellAt(const HeadMap& head, int64_t row, int64_t column) {
  return static_cast<size_t>(row * head.columns + column);
}

// Every row of n has i + 1 equal weights, then hidden ones.
inline HeadMap CausalHead(int64_t n) {
  HeadMap head;
  head.rows = n;
  head.columns = n;
  head.mean.assign(static_cast<size_t>(n * n), NAN);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) head.mean[CellAt(head, i, j)] = 1.0F / static_cast<float>(i + 1);
  }
  return head;
}

inline AttentionMap MapOf(std::vector<HeadMap> heads, int64_t grid_columns = 1) {
  AttentionMap map;
  for (const HeadMap& head : heads) {
    map.q_len = std::max(map.q_len, head.rows);
    map.kv_len = std::max(map.kv_len, head.columns);
  }
  map.heads = std::move(heads);
  map.grid_columns = grid_columns;
  return map;
}

// The cat sat; the last query looks at nothing but its own key.
inline AttentionMap ThreeTokens() {
  AttentionMap map = MapOf({CausalHead(3)});
  map.heads[0].mean = {1, NAN, NAN, 0.75F, 0.25F, NAN, 0, 0, 1};
  map.heads[0].title = "layer 2, head 7";
  map.heads[0].pattern = "previous token";
  map.heads[0].pattern_score = 0.61;
  map.heads[0].entropy = 0.52;
  map.query_tokens = {"The", "cat", "sat"};
  map.key_tokens = map.query_tokens;
  return map;
}

// 6 layers of 12 heads over 14 tokens.
inline AttentionMap GridMap() {
  AttentionMap map = MapOf(std::vector<HeadMap>(72, CausalHead(14)), 12);
  for (int i = 0; i < 6; ++i) map.row_titles.push_back("layer " + std::to_string(i));
  for (int i = 0; i < 12; ++i) map.column_titles.push_back("head " + std::to_string(i));
  for (int i = 0; i < 14; ++i) map.query_tokens.push_back("token" + std::to_string(i));
  map.key_tokens = map.query_tokens;
  for (HeadMap& head : map.heads) head.pattern = "uniform";
  return map;
}

// 512 x 512 cells of 64 x 64 pairs.
inline AttentionMap PooledMap() {
  AttentionMap map = MapOf({CausalHead(512)});
  map.heads[0].max = map.heads[0].mean;
  map.q_len = 32768;
  map.kv_len = 32768;
  return map;
}

// Markup, quotes, line separators, what is not UTF-8 and what XML does not allow.
inline AttentionMap HostileMap() {
  AttentionMap map = ThreeTokens();
  map.title = "</script><script>alert('title')</script> \xFF {{data}}";
  map.heads[0].title = "]]></title></svg><img src=x onerror=alert(1)>";
  map.heads[0].pattern = "<img src=x onerror=alert(2)>";
  map.query_tokens = {"</script><img src=x onerror=alert(3)>", "\"'`<!--", std::string("\0\x01\n\x7F", 4)};
  map.key_tokens = {"\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAE", "\xC0\xAF\xED\xA0\x80\xEF\xBF\xBF\xF0\x9F", "&amp;<b>"};
  map.row_titles = {"<i>row</i>"};
  map.column_titles = {"<i>column</i>"};
  return map;
}

}  // namespace attnd::picture

#endif  // ATTND_TESTS_UNIT_PICTURE_MAPS_H_
