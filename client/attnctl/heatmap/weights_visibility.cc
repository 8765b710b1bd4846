#include "client/attnctl/heatmap/weights_visibility.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/attnctl/option_values.h"
#include "core/attention/tensor.h"

namespace attnd::attnctl {
namespace {

constexpr std::array kNames = {"visible", "explain.visible"};
// The contract's bound of positions.
constexpr int64_t kMaxOffset = int64_t{1} << 60;

const StoredTensor* FindVisible(const WeightsArray& array) {
  for (const char* name : kNames) {
    if (const StoredTensor* tensor = array.Find(name); tensor != nullptr) return tensor;
  }
  return nullptr;
}

// Of [layers, batch, heads, q_len, kv_len], 0 where one element serves all. The shape's
// dimensions are the last ones of the weights.
absl::StatusOr<VisibleStrides> StridesOf(const WeightsArray& array, const StoredTensor& visible) {
  VisibleStrides strides;
  std::vector<std::pair<int64_t, int64_t*>> dimensions = {
      {array.kv_len(), &strides.key}, {array.q_len(), &strides.query}, {array.heads(), &strides.head}};
  if (array.has_batch()) dimensions.emplace_back(array.batches(), &strides.batch);
  if (array.has_layers()) dimensions.emplace_back(array.layers(), &strides.layer);
  const auto& shape = visible.shape;
  bool fits = shape.size() >= 2;
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t length = shape[shape.size() - 1 - i];
    if (length == 1) continue;
    fits = fits && i < dimensions.size() && length == dimensions[i].first;
    if (!fits) break;
    *dimensions[i].second = stride;
    stride *= length;
  }
  if (fits) return strides;
  return absl::InvalidArgumentError(
      absl::StrCat(array.title(), ": its tensor '", visible.name, "' ", ShapeString(shape), " does not fit"));
}

// One for all entries, or one per entry; nothing if the text is no such list.
std::optional<int64_t> OffsetOf(const std::string& text, const WeightsArray& array) {
  std::vector<int64_t> offsets;
  if (!ReadIntegers(text, &offsets).ok()) return std::nullopt;
  const auto count = static_cast<int64_t>(offsets.size());
  if (count != 1 && count != array.batches()) return std::nullopt;
  return offsets[count == 1 ? 0 : static_cast<size_t>(array.batch())];
}

absl::Status ReadPlace(const std::string& text, const WeightsArray& array, bool* causal,
                       std::optional<int64_t>* offset) {
  if (text == "false") return absl::OkStatus();
  *causal = true;
  if (text == "top_left") {
    *offset = 0;
  } else if (text == "bottom_right") {
    *offset = array.kv_len() - array.q_len();
  } else if (!text.empty() && text != "true") {
    *offset = OffsetOf(text, array);
    if (!offset->has_value()) {
      return Unfit(text,
                   "top_left, bottom_right, true, false or the first query's position (one, or one per batch entry)");
    }
    if (**offset < -kMaxOffset || **offset > kMaxOffset) return Unfit(text, "a position from -2^60 to 2^60");
  }
  if (offset->has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("is top_left or bottom_right where there are ", array.q_len(),
                                                 " queries and ", array.kv_len(), " keys"));
}

bool IsZero(std::span<const std::byte> element) {
  return std::all_of(element.begin(), element.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

absl::StatusOr<WeightsVisibility> WeightsVisibility::Make(const WeightsArray& array, const VisibilityFlags& flags) {
  WeightsVisibility visibility;
  visibility.array_ = &array;
  visibility.zeros_hidden_ = flags.zeros_hidden;
  if (array.q_len() == array.kv_len()) visibility.offset_ = 0;
  const auto noted = array.metadata().find("causal");
  if (flags.causal.has_value() || noted != array.metadata().end()) {
    const std::string place = flags.causal.has_value() ? *flags.causal : noted->second;
    const auto status = ReadPlace(place, array, &visibility.causal_, &visibility.offset_);
    if (!status.ok()) {
      const std::string where = flags.causal.has_value() ? "--causal" : array.title() + ": metadata 'causal'";
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", std::string(status.message())));
    }
  }
  const auto prefix = array.metadata().find("prefix_lengths");
  if (visibility.causal_ && !flags.causal.has_value() && prefix != array.metadata().end()) {
    visibility.prefix_ = OffsetOf(prefix->second, array).value_or(0);
  }
  visibility.tensor_ = FindVisible(array);
  if (visibility.tensor_ == nullptr) return visibility;
  const auto strides = StridesOf(array, *visibility.tensor_);
  if (!strides.ok()) return strides.status();
  visibility.strides_ = *strides;
  return visibility;
}

void WeightsVisibility::Apply(int64_t layer, int64_t head, int64_t query, std::span<double> weights,
                              std::span<uint8_t> visible) const {
  std::fill(visible.begin(), visible.end(), 1);
  if (tensor_ != nullptr) {
    const size_t size = StoredTypeSize(tensor_->dtype);
    const int64_t begin =
        layer * strides_.layer + array_->batch() * strides_.batch + head * strides_.head + query * strides_.query;
    for (size_t key = 0; key < visible.size(); ++key) {
      const auto at = static_cast<size_t>(begin + static_cast<int64_t>(key) * strides_.key);
      visible[key] = IsZero(tensor_->bytes.subspan(at * size, size)) ? 0 : 1;
    }
  }
  for (size_t key = 0; key < visible.size(); ++key) {
    const auto place = static_cast<int64_t>(key);
    if (causal_ && place > query + *offset_ && place >= prefix_) visible[key] = 0;
    if (zeros_hidden_ && weights[key] == 0) visible[key] = 0;
    if (visible[key] == 0) weights[key] = 0;
  }
}

}  // namespace attnd::attnctl
