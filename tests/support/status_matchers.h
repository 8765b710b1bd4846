// Matchers for absl::Status and StatusOr. There is no matcher for "not OK": say which error.
#ifndef ATTND_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define ATTND_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/errors.h"

namespace attnd {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg);
  return StatusOf(arg).ok();
}

// The code and a part of the message.
MATCHER_P2(IsError, code, part, "has the code and mentions the text") {
  const absl::Status& status = StatusOf(arg);
  *result_listener << status;
  return status.code() == code && std::string(status.message()).find(part) != std::string::npos;
}

// INVALID_ARGUMENT or UNIMPLEMENTED that names `field`.
MATCHER_P2(NamesField, code, field, "has the code and names the field") {
  const absl::Status& status = StatusOf(arg);
  *result_listener << status;
  return status.code() == code && FieldOf(status) == std::string(field);
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_STATUS_MATCHERS_H_
