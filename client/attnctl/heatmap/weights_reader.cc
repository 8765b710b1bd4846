#include "client/attnctl/heatmap/weights_reader.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace attnd::attnctl {
namespace {

// What rounding to float16 or bfloat16 may add to 1.
constexpr double kRounding = 0.01;

}  // namespace

WeightsReader::WeightsReader(const WeightsArray& array, const WeightsVisibility& visibility,
                             std::optional<int64_t> length)
    : array_(array),
      visibility_(visibility),
      q_len_(std::min(array.q_len(), length.value_or(array.q_len()))),
      kv_len_(std::min(array.kv_len(), length.value_or(array.kv_len()))),
      weights_(static_cast<size_t>(kv_len_)),
      visible_(weights_.size()),
      row_{weights_, visible_} {}

const WeightsRow& WeightsReader::Read(int64_t layer, int64_t head, int64_t query) {
  array_.ReadRow(layer, head, query, weights_);
  visibility_.Apply(layer, head, query, weights_, visible_);
  for (double& weight : weights_) {
    if (weight < 0 || weight > 1 + kRounding) ++outside_;
    // NaN stays.
    weight = weight < 0 ? 0 : weight > 1 ? 1 : weight;
  }
  ++rows_;
  if (HasNan(row_)) ++nan_rows_;
  return row_;
}

std::vector<std::string> WeightsReader::Notes() const {
  std::vector<std::string> notes;
  if (outside_ > 0) {
    notes.push_back(absl::StrCat(outside_, " of the numbers are outside 0..1, where weights are; drawn as 0 or 1"));
  }
  if (nan_rows_ > 0) notes.push_back(absl::StrCat(nan_rows_, " rows have a NaN and are passed over"));
  return notes;
}

}  // namespace attnd::attnctl
