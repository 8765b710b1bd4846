#include "client/attnctl/option_values.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace attnd::attnctl {
namespace {

std::vector<std::string> Split(const std::string& text) { return absl::StrSplit(text, ','); }

std::optional<float> ToNumber(const std::string& text) {
  float number = 0;
  if (!absl::SimpleAtof(text, &number) || !std::isfinite(number)) return std::nullopt;
  return number;
}

template <typename T>
void CopyIntegers(const StoredTensor& tensor, std::vector<int64_t>* list) {
  std::vector<T> elements(tensor.bytes.size() / sizeof(T));
  if (!elements.empty()) std::memcpy(elements.data(), tensor.bytes.data(), tensor.bytes.size());
  list->assign(elements.begin(), elements.end());
}

}  // namespace

absl::Status Unfit(const std::string& text, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not ", allowed));
}

std::optional<int64_t> ToInteger(const std::string& text) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

absl::Status ReadNumber(const std::string& text, std::optional<float>* number) {
  *number = ToNumber(text);
  return number->has_value() ? absl::OkStatus() : Unfit(text, "a finite number");
}

absl::Status ReadCount(const std::string& text, int64_t smallest, std::optional<int64_t>* count) {
  *count = ToInteger(text);
  if (!count->has_value() || **count < smallest) return Unfit(text, absl::StrCat("an integer >= ", smallest));
  return absl::OkStatus();
}

absl::Status ReadIntegers(const std::string& text, std::vector<int64_t>* list) {
  list->clear();
  for (const std::string& part : Split(text)) {
    const auto number = ToInteger(part);
    if (!number.has_value()) return Unfit(text, "one integer, or several with commas between them");
    list->push_back(*number);
  }
  return absl::OkStatus();
}

absl::Status ReadNumbers(const std::string& text, std::vector<float>* list) {
  list->clear();
  for (const std::string& part : Split(text)) {
    float number = 0;
    // A sink of -inf is none.
    if (!absl::SimpleAtof(part, &number) || std::isnan(number)) {
      return Unfit(text, "one number, or several with commas between them");
    }
    list->push_back(number);
  }
  return absl::OkStatus();
}

absl::Status ReadTime(const std::string& text, std::chrono::milliseconds* time) {
  constexpr std::array<std::pair<std::string_view, double>, 3> kUnits = {{{"ms", 1}, {"s", 1e3}, {"m", 60e3}}};
  constexpr double kLongest = 1e12;
  const size_t unit_at = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto* const unit = std::find_if(kUnits.begin(), kUnits.end(),
                                        [&](const auto& known) { return known.first == text.substr(unit_at); });
  double number = 0;
  if (unit == kUnits.end() || !absl::SimpleAtod(text.substr(0, unit_at), &number) || number * unit->second > kLongest) {
    return Unfit(text, "a time such as 500ms, 30s or 2m");
  }
  *time = std::chrono::milliseconds(std::llround(std::ceil(number * unit->second)));
  return absl::OkStatus();
}

std::string JoinWords(std::span<const std::string_view> words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

absl::StatusOr<TensorView> ToNumbers(const StoredTensor& tensor) {
  TensorView view{DataType::kFloat32, tensor.shape, Fragments(tensor.bytes)};
  switch (tensor.dtype) {
    case StoredType::kF32:
      return view;
    case StoredType::kF16:
      view.dtype = DataType::kFloat16;
      return view;
    case StoredType::kBf16:
      view.dtype = DataType::kBfloat16;
      return view;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat(StoredTypeName(tensor.dtype), " elements; save it as float32 (array.astype('float32'))"));
  }
}

absl::StatusOr<TensorView> ToMask(const StoredTensor& tensor, std::optional<int64_t> bits) {
  TensorView view{DataType::kBool, tensor.shape, Fragments(tensor.bytes)};
  if (tensor.dtype == StoredType::kBool) return view;
  if (tensor.dtype != StoredType::kU8) {
    return absl::InvalidArgumentError(
        absl::StrCat(StoredTypeName(tensor.dtype),
                     " elements; a mask is BOOL (array.astype('bool')), numbers that are added to scores are a bias"));
  }
  if (!bits.has_value()) {
    return absl::InvalidArgumentError("U8 elements; a mask is BOOL, or U8 with mask_bits = keys per row");
  }
  const int64_t row_bytes = (*bits - 1) / 8 + 1;
  if (view.shape.empty() || view.shape.back() != row_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("U8 of shape ", ShapeString(view.shape), ", but a row of ", *bits,
                                                   " keys (mask_bits) takes ", row_bytes, " bytes"));
  }
  view.dtype = DataType::kBit;
  view.shape.back() = *bits;
  return view;
}

absl::Status ReadIntegers(const StoredTensor& tensor, std::vector<int64_t>* list) {
  if (tensor.dtype == StoredType::kI64) {
    CopyIntegers<int64_t>(tensor, list);
  } else if (tensor.dtype == StoredType::kI32) {
    CopyIntegers<int32_t>(tensor, list);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(StoredTypeName(tensor.dtype), " elements; save it as int64 (array.astype('int64'))"));
  }
  return absl::OkStatus();
}

}  // namespace attnd::attnctl
