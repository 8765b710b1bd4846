#include "client/attnctl/heatmap/weights_visibility.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/attnctl/option_values.h"
#include "core/attention/tensor.h"

namespace attnd::attnctl {
namespace {

constexpr std::array kNames = {"visible", "explain.visible"};

const StoredTensor* FindVisible(const WeightsArray& array) {
  for (const char* name : kNames) {
    if (const StoredTensor* tensor = array.Find(name); tensor != nullptr) return tensor;
  }
  return nullptr;
}

int64_t CountOf(const StoredTensor& tensor) {
  return static_cast<int64_t>(tensor.bytes.size() / StoredTypeSize(tensor.dtype));
}

// [..., q_len, kv_len], of all heads or of the last dimensions that the weights have.
absl::Status CheckFits(const WeightsArray& array, const StoredTensor& visible) {
  const std::vector<int64_t> whole = {array.layers(), array.batches(), array.heads(), array.q_len(), array.kv_len()};
  const auto& shape = visible.shape;
  std::vector<int64_t> expected;
  std::copy_if(whole.begin(), whole.begin() + 3, std::back_inserter(expected), [](int64_t n) { return n != 1; });
  expected.insert(expected.end(), whole.begin() + 3, whole.end());
  std::vector<int64_t> given;
  if (shape.size() >= 2) {
    std::copy_if(shape.begin(), shape.end() - 2, std::back_inserter(given), [](int64_t n) { return n != 1; });
    given.insert(given.end(), shape.end() - 2, shape.end());
  }
  const bool fits = given.size() >= 2 && given.size() <= expected.size() &&
                    std::equal(given.rbegin(), given.rend(), expected.rbegin());
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(array.title(), ": its tensor '", visible.name, "' ", ShapeString(shape), " does not fit"));
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
    *offset = ToInteger(text);
    if (!offset->has_value()) return Unfit(text, "top_left, bottom_right, true, false or the first query's position");
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
  visibility.tensor_ = FindVisible(array);
  if (visibility.tensor_ == nullptr) return visibility;
  if (auto status = CheckFits(array, *visibility.tensor_); !status.ok()) return status;
  return visibility;
}

void WeightsVisibility::Apply(int64_t layer, int64_t head, int64_t query, std::span<double> weights,
                              std::span<uint8_t> visible) const {
  std::fill(visible.begin(), visible.end(), 1);
  if (tensor_ != nullptr) {
    const size_t size = StoredTypeSize(tensor_->dtype);
    const auto begin = static_cast<size_t>(array_->RowAt(layer, head, query) % CountOf(*tensor_));
    for (size_t key = 0; key < visible.size(); ++key) {
      visible[key] = IsZero(tensor_->bytes.subspan((begin + key) * size, size)) ? 0 : 1;
    }
  }
  for (size_t key = 0; key < visible.size(); ++key) {
    if (causal_ && static_cast<int64_t>(key) > query + *offset_) visible[key] = 0;
    if (zeros_hidden_ && weights[key] == 0) visible[key] = 0;
    if (visible[key] == 0) weights[key] = 0;
  }
}

}  // namespace attnd::attnctl
