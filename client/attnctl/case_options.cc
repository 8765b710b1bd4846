#include "client/attnctl/case_options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace attnd::attnctl {
namespace {

absl::Status Unfit(const std::string& text, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not ", allowed));
}

std::optional<int64_t> ToInteger(const std::string& text) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

absl::Status ApplyLayout(const std::string& text, AttentionRequest* request, CallOptions* /*call*/) {
  if (text != "heads_first" && text != "tokens_first") return Unfit(text, "heads_first or tokens_first");
  request->layout = text == "heads_first" ? Layout::kHeadsFirst : Layout::kTokensFirst;
  return absl::OkStatus();
}

absl::Status ApplyHeadCount(const std::string& text, std::optional<int64_t>* count) {
  *count = ToInteger(text);
  if (!count->has_value() || **count < 1 || **count > std::numeric_limits<int32_t>::max()) {
    return Unfit(text, "a number of heads >= 1");
  }
  return absl::OkStatus();
}

absl::Status ApplyHeads(const std::string& text, AttentionRequest* request, CallOptions* /*call*/) {
  return ApplyHeadCount(text, &request->heads);
}

absl::Status ApplyKvHeads(const std::string& text, AttentionRequest* request, CallOptions* /*call*/) {
  return ApplyHeadCount(text, &request->kv_heads);
}

absl::Status ApplyCausal(const std::string& text, AttentionRequest* request, CallOptions* /*call*/) {
  AttentionOptions& options = request->options;
  options.causal = text != "false";
  options.alignment = Alignment::kUnset;
  options.q_offset.clear();
  if (text == "false" || text == "true" || text.empty()) return absl::OkStatus();
  if (text == "top_left" || text == "bottom_right") {
    options.alignment = text == "top_left" ? Alignment::kTopLeft : Alignment::kBottomRight;
    return absl::OkStatus();
  }
  options.alignment = Alignment::kOffset;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    const auto offset = ToInteger(part);
    if (!offset.has_value()) {
      return Unfit(text,
                   "top_left, bottom_right, true, false or the first query's position (one, or one per batch entry)");
    }
    options.q_offset.push_back(*offset);
  }
  return absl::OkStatus();
}

absl::Status ApplyScale(const std::string& text, AttentionRequest* request, CallOptions* /*call*/) {
  float scale = 0;
  if (!absl::SimpleAtof(text, &scale) || !std::isfinite(scale)) return Unfit(text, "a finite number");
  request->options.scale = scale;
  return absl::OkStatus();
}

absl::Status ApplyOutputs(const std::string& text, AttentionRequest* request, CallOptions* /*call*/) {
  request->outputs = {};
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, ',', absl::SkipEmpty()))) {
    if (name != "lse" && name != "weights") return Unfit(name, "lse or weights");
    (name == "lse" ? request->outputs.lse : request->outputs.weights) = true;
  }
  return absl::OkStatus();
}

absl::Status ApplyPriority(const std::string& text, AttentionRequest* /*request*/, CallOptions* call) {
  if (!absl::SimpleAtoi(text, &call->priority)) return Unfit(text, "a 32-bit integer");
  return absl::OkStatus();
}

absl::Status ApplyTenant(const std::string& text, AttentionRequest* /*request*/, CallOptions* call) {
  call->tenant = text;
  return absl::OkStatus();
}

constexpr std::array kRules = {
    OptionRule{"layout", "LAYOUT",
               "heads_first (default): [batch, heads, len, dim] or [len, dim]; tokens_first:\n"
               "[batch, len, heads, dim] or, with --heads and --kv-heads, [batch, len, heads*dim]",
               ApplyLayout},
    OptionRule{"heads", "N", "query heads", ApplyHeads},
    OptionRule{"kv_heads", "N", "key and value heads", ApplyKvHeads},
    OptionRule{"causal", "[ALIGN]",
               "no query sees a later key; where query and key lengths differ, say which\n"
               "positions line up: top_left, bottom_right, or the first query's position\n"
               "(--causal=-2 if negative)",
               ApplyCausal},
    OptionRule{"scale", "X", "factor on query * key^T (default 1 / sqrt(head_dim))", ApplyScale},
    OptionRule{"outputs", "LIST", "what to return beside the output: lse, weights", ApplyOutputs},
    OptionRule{"priority", "N", "higher is served first (default 0)", ApplyPriority},
    OptionRule{"tenant", "NAME", "whom the work is for", ApplyTenant},
};

// Names of the service's contract, and what the ONNX operator calls ours. A result computed
// without them would be a wrong one.
constexpr std::array<std::string_view, 34> kNotSent = {
    "alibi_slopes",   "alignment",
    "attn_mask",      "bias",
    "biases",         "diagnostics",
    "documents",      "explain",
    "is_causal",      "k_offset",
    "key_ids",        "kv_lengths",
    "kv_num_heads",   "kv_starts",
    "mask",           "masks",
    "past_key",       "past_value",
    "polarity",       "precision",
    "prefix_lengths", "q_lengths",
    "q_num_heads",    "q_offset",
    "query_ids",      "rope",
    "scores",         "sinks",
    "softcap",        "top_k",
    "window",         "window_left",
    "window_right",   "softmax_precision",
};

// As a rule would spell it.
std::string Plain(const std::string& name) {
  std::string plain = absl::AsciiStrToLower(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  return plain;
}

// Whether at most one insertion, deletion, replacement or swap of neighbours turns `a`
// into `b`.
bool OneSlipApart(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > 1) return false;
  const auto at = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
  const auto rest_a = a.substr(at);
  const auto rest_b = b.substr(at);
  if (rest_a.size() < rest_b.size()) return rest_a == rest_b.substr(1);
  if (rest_a.size() < 2) return true;
  const bool swapped = rest_a[0] == rest_b[1] && rest_a[1] == rest_b[0] && rest_a.substr(2) == rest_b.substr(2);
  return swapped || rest_a.substr(1) == rest_b.substr(1);
}

}  // namespace

std::span<const OptionRule> OptionRules() { return kRules; }

const OptionRule* FindOptionRule(const std::string& name) {
  const auto* const rule =
      std::find_if(kRules.begin(), kRules.end(), [&](const OptionRule& r) { return name == r.name; });
  return rule == kRules.end() ? nullptr : rule;
}

absl::Status CheckNotMissed(const std::string& name) {
  if (std::find(kNotSent.begin(), kNotSent.end(), Plain(name)) == kNotSent.end()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("'", name, "' would change the result, but attnctl does not send it"));
}

absl::Status CheckNoSlip(const std::string& name) {
  const std::string plain = Plain(name);
  const auto* const meant = std::find_if(kRules.begin(), kRules.end(),
                                         [&](const OptionRule& rule) { return OneSlipApart(plain, rule.name); });
  if (meant == kRules.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no option; is '", meant->name, "' meant?"));
}

}  // namespace attnd::attnctl
