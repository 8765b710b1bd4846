// Errors as values. absl::Status carries the code and the message; this header adds
// the two facts a caller may act on: which field was wrong, and when to come back.
// Everything here is thread-safe.
#ifndef ATTND_CORE_ERRORS_H_
#define ATTND_CORE_ERRORS_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace attnd {

// INVALID_ARGUMENT "<field>: <problem>". `field` is the path in the request's terms,
// such as "options.q_offset". `problem` says what came and what is allowed.
absl::Status InvalidField(std::string_view field, std::string_view problem);

// UNIMPLEMENTED "<field>: <problem>": part of the contract, not served by this build.
absl::Status UnservedField(std::string_view field, std::string_view problem);

// RESOURCE_EXHAUSTED; the caller may try again after `retry_after`.
absl::Status Overloaded(std::string_view problem, std::chrono::milliseconds retry_after);

// The field named by InvalidField or UnservedField.
std::optional<std::string> FieldOf(const absl::Status& status);

// The hint given by Overloaded.
std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status);

}  // namespace attnd

#endif  // ATTND_CORE_ERRORS_H_
