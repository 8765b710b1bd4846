// Weights of a file, row by row, as pictures take them.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_READER_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_READER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/attnctl/heatmap/weights_array.h"
#include "client/attnctl/heatmap/weights_row.h"
#include "client/attnctl/heatmap/weights_visibility.h"

namespace attnd::attnctl {

// Reads the first `length` queries and keys, or all. Array and visibility must outlive it.
// Thread-hostile: a row is read into the reader.
class WeightsReader {
 public:
  WeightsReader(const WeightsArray& array, const WeightsVisibility& visibility, std::optional<int64_t> length);
  ~WeightsReader() = default;
  WeightsReader(const WeightsReader&) = delete;
  WeightsReader& operator=(const WeightsReader&) = delete;

  [[nodiscard]] int64_t q_len() const { return q_len_; }
  [[nodiscard]] int64_t kv_len() const { return kv_len_; }

  // Valid until the next call. Weights outside 0..1 become 0 or 1.
  const WeightsRow& Read(int64_t layer, int64_t head, int64_t query);

  // Whether every row that was read has a NaN.
  [[nodiscard]] bool OnlyNan() const { return rows_ > 0 && nan_rows_ == rows_; }

  // What was odd about the rows that were read, a line each.
  [[nodiscard]] std::vector<std::string> Notes() const;

 private:
  const WeightsArray& array_;
  const WeightsVisibility& visibility_;
  int64_t q_len_;
  int64_t kv_len_;
  std::vector<double> weights_;
  std::vector<uint8_t> visible_;
  WeightsRow row_;
  int64_t rows_ = 0;
  int64_t nan_rows_ = 0;
  int64_t outside_ = 0;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_WEIGHTS_READER_H_
