// Values of options as they come, in text or as tensors of a file. Errors say what came and
// what is allowed, not where.
#ifndef ATTND_CLIENT_ATTNCTL_OPTION_VALUES_H_
#define ATTND_CLIENT_ATTNCTL_OPTION_VALUES_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/attention/tensor.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {

// "'x' is not <allowed>".
absl::Status Unfit(const std::string& text, const std::string& allowed);

std::optional<int64_t> ToInteger(const std::string& text);

absl::Status ReadNumber(const std::string& text, std::optional<float>* number);
// At least `smallest`.
absl::Status ReadCount(const std::string& text, int64_t smallest, std::optional<int64_t>* count);
// With commas between them, at least one.
absl::Status ReadIntegers(const std::string& text, std::vector<int64_t>* list);
absl::Status ReadNumbers(const std::string& text, std::vector<float>* list);

// "500ms", "30s", "1.5m"; rounded up to whole milliseconds.
absl::Status ReadTime(const std::string& text, std::chrono::milliseconds* time);

// A word and what it stands for.
template <typename T>
using Choice = std::pair<std::string_view, T>;

// "a, b or c".
std::string JoinWords(std::span<const std::string_view> words);

template <typename T, size_t kCount>
absl::Status ReadChoice(const std::string& text, const Choice<T> (&choices)[kCount], T* chosen) {
  std::vector<std::string_view> words;
  for (const auto& [word, meaning] : choices) {
    if (word == text) {
      *chosen = meaning;
      return absl::OkStatus();
    }
    words.push_back(word);
  }
  return Unfit(text, JoinWords(words));
}

// F32, F16 or BF16 as it is.
absl::StatusOr<TensorView> ToNumbers(const StoredTensor& tensor);
// BOOL as it is; U8 as rows of `bits` bits if there are any.
absl::StatusOr<TensorView> ToMask(const StoredTensor& tensor, std::optional<int64_t> bits);
// The elements of I32 or I64, in their order.
absl::Status ReadIntegers(const StoredTensor& tensor, std::vector<int64_t>* list);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_OPTION_VALUES_H_
