// What a picture of attention shows: heads, each a map of weights over (query, key), with
// the tokens along its sides. Made by sources (attnctl), drawn by png.h, svg.h and html.h.
#ifndef ATTND_CLIENT_PICTURE_ATTENTION_MAP_H_
#define ATTND_CLIENT_PICTURE_ATTENTION_MAP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace attnd::picture {

// One head's weights in cells, which divide queries and keys evenly: cell [i, j] of [rows,
// columns] covers queries [i q_len / rows, (i + 1) q_len / rows) and keys likewise.
struct HeadMap {
  // Such as "layer 2, head 7"; in a grid the row and the column say it.
  std::string title;
  // Such as "sink", with its score, and the entropy in nats; empty where nobody knows.
  std::string pattern;
  std::optional<double> pattern_score;
  std::optional<double> entropy;
  int64_t rows = 0;
  int64_t columns = 0;
  // [rows, columns]: the mean over the cell's visible pairs; NaN where no pair is visible.
  std::vector<float> mean;
  // The same of the largest; empty where each cell is one pair.
  std::vector<float> max;
};

// Heads in rows of a grid, of one problem.
struct AttentionMap {
  // A line above; may be empty.
  std::string title;
  // One row of the grid after the other, each `grid_columns` wide, >= 1; the last may be short.
  std::vector<HeadMap> heads;
  int64_t grid_columns = 1;
  // Such as "layer 0" and "head 3", as many as the grid has rows and columns; may be empty.
  std::vector<std::string> row_titles;
  std::vector<std::string> column_titles;
  // Of the longest head.
  int64_t q_len = 0;
  int64_t kv_len = 0;
  // One per query and per key, UTF-8 and not trusted; empty if nobody knows them.
  std::vector<std::string> query_tokens;
  std::vector<std::string> key_tokens;
};

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_ATTENTION_MAP_H_
