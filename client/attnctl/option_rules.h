// How tables of options are written. Used by those who write one.
#ifndef ATTND_CLIENT_ATTNCTL_OPTION_RULES_H_
#define ATTND_CLIENT_ATTNCTL_OPTION_RULES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/attnctl/case_options.h"

namespace attnd::attnctl {

// Headings.
inline constexpr char kTensors[] = "Tensors";
inline constexpr char kOutputs[] = "Outputs";

constexpr OptionRule TextRule(const char* name, const char* group, const char* value, const char* help,
                              absl::Status (*text)(const std::string&, Case*)) {
  return {name, group, value, help, text};
}

// One whose flag may stand alone.
constexpr OptionRule LoneRule(const char* name, const char* group, const char* value, const char* help,
                              absl::Status (*text)(const std::string&, Case*)) {
  OptionRule rule = TextRule(name, group, value, help, text);
  rule.lone = true;
  return rule;
}

constexpr OptionRule IntegersRule(const char* name, const char* group, const char* help,
                                  std::vector<int64_t>* (*integers)(Case*)) {
  OptionRule rule = {name, group, "LIST", help};
  rule.integers = integers;
  return rule;
}

constexpr OptionRule TensorRule(const char* name, const char* group, const char* help,
                                absl::Status (*tensor)(const StoredTensor&, Case*)) {
  OptionRule rule = {name, group, "FILE.npy", help};
  rule.tensor = tensor;
  return rule;
}

// An integer from 1 to 2^31 - 1.
absl::Status ReadSmallCount(const std::string& text, std::optional<int64_t>* count);
// "true" or "false"; empty means true.
absl::Status ReadSwitch(const std::string& text, bool* value);
absl::Status ReadTensor(const StoredTensor& tensor, TensorView* view);
// Words of `outputs`; "explain" is one if there is a place for it.
absl::Status ReadOutputs(const std::string& text, AttentionOutputs* outputs, bool* explain);

// Options of top-k, diagnostics and heatmap, which both kinds have.
std::span<const OptionRule> SummaryRules();
// Puts them into the request. Fails if one was given whose output was not asked for.
absl::Status FinishSummaries(const OptionNamer& where, Case* result);

// Options that `attnctl multihead` alone has, or that mean something else there.
std::span<const OptionRule> MultiHeadRules();

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_OPTION_RULES_H_
