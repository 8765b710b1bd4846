// The parts of option_rules.h that say what to return beside the output.
#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/attnctl/option_rules.h"
#include "client/attnctl/option_values.h"

namespace attnd::attnctl {
namespace {

constexpr std::array kRules = {
    TextRule("top_k", kOutputs, "N", "the N largest weights of each row, and their keys",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &c->pending.top_k); }),
    IntegersRule("top_k_rows", kOutputs, "query rows of --top-k (default all)",
                 [](Case* c) { return &c->pending.top_k_rows; }),
    LoneRule("diagnostics_rows", kOutputs, "[BOOL]", "diagnostics of every row, not of heads alone",
             [](const std::string& t, Case* c) { return ReadSwitch(t, &c->pending.diagnostics_rows.emplace()); }),
    TextRule("diagnostics_first_keys", kOutputs, "N", "keys that the mass on first keys counts (default 4)",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &c->pending.diagnostics_first_keys); }),
    TextRule("diagnostics_window", kOutputs, "N", "largest distance that the window's mass counts (default 4)",
             [](const std::string& t, Case* c) { return ReadCount(t, 0, &c->pending.diagnostics_window); }),
    TextRule("diagnostics_columns", kOutputs, "N", "strongest keys of each head (default 4)",
             [](const std::string& t, Case* c) { return ReadCount(t, 0, &c->pending.diagnostics_columns); }),
    TextRule("heatmap_cells", kOutputs, "N", "most cells of a heatmap, down and across (default 512)",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &c->pending.heatmap_cells); }),
};

// A word of `outputs`.
struct OutputWord {
  std::string_view word;
  void (*ask)(AttentionOutputs* outputs);
};

constexpr std::array kWords = {
    OutputWord{"lse", [](AttentionOutputs* o) { o->lse = true; }},
    OutputWord{"weights", [](AttentionOutputs* o) { o->weights.emplace(); }},
    OutputWord{"scores", [](AttentionOutputs* o) { o->scores = ScoreStage::kUnset; }},
    OutputWord{"top_k", [](AttentionOutputs* o) { o->top_k.emplace(); }},
    OutputWord{"diagnostics", [](AttentionOutputs* o) { o->diagnostics.emplace(); }},
    OutputWord{"heatmap", [](AttentionOutputs* o) { o->heatmap.emplace(); }},
};
constexpr std::string_view kExplain = "explain";

absl::Status UnknownWord(const std::string& name, bool with_explain) {
  std::vector<std::string_view> words;
  words.reserve(kWords.size() + 1);
  for (const OutputWord& known : kWords) words.push_back(known.word);
  if (with_explain) words.push_back(kExplain);
  return Unfit(name, JoinWords(words));
}

absl::Status NotAsked(const OptionNamer& where, const char* name, const char* output) {
  return absl::InvalidArgumentError(absl::StrCat(where(name), ": outputs does not ask for ", output));
}

absl::Status FinishTopK(const OptionNamer& where, Case* result) {
  const Case::Pending& pending = result->pending;
  auto& top_k = result->request.outputs.top_k;
  if (pending.top_k.has_value()) {
    top_k = TopKOutput{.k = *pending.top_k, .rows = pending.top_k_rows};
    return absl::OkStatus();
  }
  if (top_k.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where("top_k"), ": is needed with top_k in outputs: how many of the largest weights"));
  }
  if (pending.top_k_rows.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(where("top_k_rows"), ": top_k is not asked for"));
}

absl::Status FinishDiagnostics(const OptionNamer& where, Case* result) {
  const Case::Pending& pending = result->pending;
  auto& diagnostics = result->request.outputs.diagnostics;
  if (diagnostics.has_value()) {
    diagnostics = DiagnosticsOutput{.rows = pending.diagnostics_rows.value_or(false),
                                    .first_keys = pending.diagnostics_first_keys,
                                    .window = pending.diagnostics_window,
                                    .columns = pending.diagnostics_columns};
    return absl::OkStatus();
  }
  if (pending.diagnostics_rows.has_value()) return NotAsked(where, "diagnostics_rows", "diagnostics");
  if (pending.diagnostics_first_keys.has_value()) return NotAsked(where, "diagnostics_first_keys", "diagnostics");
  if (pending.diagnostics_window.has_value()) return NotAsked(where, "diagnostics_window", "diagnostics");
  if (pending.diagnostics_columns.has_value()) return NotAsked(where, "diagnostics_columns", "diagnostics");
  return absl::OkStatus();
}

absl::Status FinishHeatmap(const OptionNamer& where, Case* result) {
  auto& heatmap = result->request.outputs.heatmap;
  if (heatmap.has_value()) {
    heatmap->cells = result->pending.heatmap_cells;
    return absl::OkStatus();
  }
  return result->pending.heatmap_cells.has_value() ? NotAsked(where, "heatmap_cells", "heatmap") : absl::OkStatus();
}

}  // namespace

std::span<const OptionRule> SummaryRules() { return kRules; }

absl::Status ReadOutputs(const std::string& text, AttentionOutputs* outputs, bool* explain) {
  *outputs = AttentionOutputs{.dtype = outputs->dtype};
  if (explain != nullptr) *explain = false;
  for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, ',', absl::SkipEmpty()))) {
    const auto* const known =
        std::find_if(kWords.begin(), kWords.end(), [&](const OutputWord& word) { return word.word == name; });
    if (known != kWords.end()) {
      known->ask(outputs);
    } else if (explain != nullptr && name == kExplain) {
      *explain = true;
    } else {
      return UnknownWord(name, explain != nullptr);
    }
  }
  return absl::OkStatus();
}

absl::Status FinishSummaries(const OptionNamer& where, Case* result) {
  for (const auto finish : {FinishTopK, FinishDiagnostics, FinishHeatmap}) {
    if (auto status = finish(where, result); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace attnd::attnctl
