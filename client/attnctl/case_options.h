// Everything that a case can say, in one table for each kind of case: its names are the long
// flags of `attnctl attend` or `attnctl multihead` and, with '-' as '_', the metadata keys or
// tensor names of a case file. Most options are in both.
#ifndef ATTND_CLIENT_ATTNCTL_CASE_OPTIONS_H_
#define ATTND_CLIENT_ATTNCTL_CASE_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/client.h"
#include "core/attention/request.h"
#include "core/linear/safetensors.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// What is computed, by the command of that name.
enum class CaseKind { kAttend, kMultiHead };

// A request with all it needs: it owns its tensors.
struct Case {
  CaseKind kind = CaseKind::kAttend;
  // kMultiHead: options, outputs and kv_heads alone, until FinishCase puts them into the call.
  AttentionRequest request;
  codec::MultiHeadCall multihead;
  CallOptions call;
  // For people. Empty for cases from files.
  std::string title;
  // One per token. Empty for cases from files.
  std::vector<std::string> tokens;
  // Of the keys, if they are not those of the queries.
  std::vector<std::string> key_tokens;

  // What rules read and FinishCase puts in its place, whatever the order they came in.
  struct Pending {
    std::vector<Polarity> mask_polarity;
    // Their names say where they come from.
    std::vector<StoredTensor> masks;
    std::optional<int64_t> mask_bits;
    std::vector<int64_t> query_ids;
    std::vector<int64_t> key_ids;
    std::optional<bool> mean_weights;
    std::vector<int64_t> weights_rows;
    ScoreStage score_stage = ScoreStage::kUnset;
    std::optional<int64_t> top_k;
    std::vector<int64_t> top_k_rows;
    std::optional<bool> diagnostics_rows;
    std::optional<int64_t> diagnostics_first_keys;
    std::optional<int64_t> diagnostics_window;
    std::optional<int64_t> diagnostics_columns;
    std::optional<int64_t> heatmap_cells;
  };
  Pending pending;
  // Of the tensors' bytes.
  std::vector<std::shared_ptr<const void>> owners;
};

inline const std::vector<std::string>& KeyTokensOf(const Case& c) {
  return c.key_tokens.empty() ? c.tokens : c.key_tokens;
}

inline const TensorView& QueryOf(const Case& c) {
  return c.kind == CaseKind::kAttend ? c.request.query : c.multihead.request.query;
}

// Option names with '_' and their text.
using OptionTexts = std::map<std::string, std::string>;

// One option. Exactly one of `text`, `integers`, `numbers` and `tensor` is set. Errors say
// what came and what is allowed, not which option.
struct OptionRule {
  // With '_'.
  const char* name = nullptr;
  // Heading in the help.
  const char* group = nullptr;
  // What the help shows for the value, and what it says.
  const char* value = nullptr;
  const char* help = nullptr;
  // A word or a number.
  absl::Status (*text)(const std::string& text, Case* result) = nullptr;
  // A list of integers: text with commas, or a tensor.
  std::vector<int64_t>* (*integers)(Case* result) = nullptr;
  // A list of numbers: text with commas, or a tensor.
  std::optional<TensorView>* (*numbers)(Case* result) = nullptr;
  // A tensor.
  absl::Status (*tensor)(const StoredTensor& tensor, Case* result) = nullptr;
  // Whether there may be several: NAME, NAME.0, NAME.1, ...
  bool repeats = false;
  // Whether the flag may stand alone: the text is empty then.
  bool lone = false;
  // The flag's name with '_', where it is not the option's.
  const char* flag = nullptr;

  [[nodiscard]] bool TakesText() const { return tensor == nullptr; }
  [[nodiscard]] bool TakesTensor() const { return text == nullptr; }
};

// All options of such cases, in the order of the help. Lives as long as the program.
std::span<const OptionRule> OptionRules(CaseKind kind);

// The rule of that name, or nullptr.
const OptionRule* FindOptionRule(CaseKind kind, std::string_view name);

// "--kv-heads" for "kv_heads".
std::string FlagName(std::string_view name);
// The same for a rule.
std::string FlagName(const OptionRule& rule);

// Reads the text. REQUIRES: rule.TakesText().
absl::Status ApplyText(const OptionRule& rule, const std::string& text, Case* result);

// Reads the tensor, whose bytes stay where they are. REQUIRES: rule.TakesTensor().
absl::Status ApplyTensor(const OptionRule& rule, const StoredTensor& tensor, Case* result);

// Turns `causal` with a place into what it is short for: causal, alignment and q_offset.
// Fails if `texts` says something else about one of these, or if the place is none.
absl::Status ExpandCausal(OptionTexts* texts);

// What an option is called where it was given or ought to be.
using OptionNamer = std::function<std::string(const std::string& name)>;

// Completes the request after all options were applied. Fails if one lacks another that it
// needs, or does not fit it.
absl::Status FinishCase(const OptionNamer& where, Case* result);

// Fails if a tensor or metadata key of this name must not be passed over, because the
// result would be wrong: it is what another program calls an option of ours, or a part of
// the service's contract that this program does not send.
absl::Status CheckNotMissed(CaseKind kind, const std::string& name);

// Fails if `name`, which no rule has, is one slip away from one that takes a tensor or, if
// not `is_tensor`, text. Other names are somebody's notes.
absl::Status CheckNoSlip(CaseKind kind, const std::string& name, bool is_tensor);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CASE_OPTIONS_H_
