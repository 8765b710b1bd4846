#include "core/errors.h"

#include <cstdint>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

constexpr char kFieldUrl[] = "attnd/field";
constexpr char kRetryAfterUrl[] = "attnd/retry_after_ms";

absl::Status FieldError(absl::StatusCode code, std::string_view field, std::string_view problem) {
  absl::Status status(code, std::string(field) + ": " + std::string(problem));
  status.SetPayload(kFieldUrl, absl::Cord(std::string(field)));
  return status;
}

}  // namespace

absl::Status InvalidField(std::string_view field, std::string_view problem) {
  return FieldError(absl::StatusCode::kInvalidArgument, field, problem);
}

absl::Status UnservedField(std::string_view field, std::string_view problem) {
  return FieldError(absl::StatusCode::kUnimplemented, field, problem);
}

absl::Status Overloaded(std::string_view problem, std::chrono::milliseconds retry_after) {
  absl::Status status(absl::StatusCode::kResourceExhausted, std::string(problem));
  status.SetPayload(kRetryAfterUrl, absl::Cord(absl::StrCat(retry_after.count())));
  return status;
}

std::optional<std::string> FieldOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kFieldUrl);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfterUrl);
  int64_t millis = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &millis)) return std::nullopt;
  return std::chrono::milliseconds(millis);
}

}  // namespace attnd
