// The options of an attention case as text. One table says what there is: its names are the
// long flags of `attnctl attend`, and, with '-' as '_', the metadata keys of a case file.
#ifndef ATTND_CLIENT_ATTNCTL_CASE_OPTIONS_H_
#define ATTND_CLIENT_ATTNCTL_CASE_OPTIONS_H_

#include <map>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "client/client.h"
#include "core/attention/request.h"

namespace attnd::attnctl {

// Option names with '_' and their text.
using OptionTexts = std::map<std::string, std::string>;

struct OptionRule {
  // With '_'.
  const char* name;
  // What the help shows for the value, and what it says.
  const char* value;
  const char* help;
  // Reads the text into a request and its call. The error says what came and what is
  // allowed, not which option.
  absl::Status (*apply)(const std::string& text, AttentionRequest* request, CallOptions* call);
};

// All options, in the order of the help. Lives as long as the program.
std::span<const OptionRule> OptionRules();

// The rule of that name, or nullptr.
const OptionRule* FindOptionRule(const std::string& name);

// Fails if a tensor or metadata key of this name must not be passed over: it is a part of
// the service's contract that this program does not send, so the result would be wrong.
absl::Status CheckNotMissed(const std::string& name);

// Fails if `name`, a metadata key that no rule has, is one slip away from one that has.
// Other keys are somebody's notes.
absl::Status CheckNoSlip(const std::string& name);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CASE_OPTIONS_H_
