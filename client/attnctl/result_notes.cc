// The part of results.h that says what a file's results are of.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/case_extent.h"
#include "client/attnctl/results.h"

namespace attnd::attnctl {
namespace {

using Integers = std::vector<int64_t>;

// The contract's bound of positions.
constexpr int64_t kMaxOffset = int64_t{1} << 60;

std::string JsonOf(const std::vector<std::string>& tokens) {
  return nlohmann::json(tokens).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Of a list with one element for all entries or one for each.
int64_t At(const Integers& list, size_t entry, int64_t otherwise) {
  return list.empty() ? otherwise : list[std::min(entry, list.size() - 1)];
}

// Positions of the first query if the first key is at 0, for all entries or for each.
std::string Differences(const Integers& from, int64_t from_otherwise, const Integers& what, int64_t what_otherwise) {
  const auto bounded = [](int64_t position) { return std::clamp(position, -kMaxOffset, kMaxOffset); };
  Integers differences(std::max({from.size(), what.size(), size_t{1}}));
  for (size_t i = 0; i < differences.size(); ++i) {
    differences[i] = bounded(bounded(At(from, i, from_otherwise)) - bounded(At(what, i, what_otherwise)));
  }
  return absl::StrJoin(differences, ",");
}

// As the option `causal` of cases.
std::string PlaceOf(const AttentionOptions& options, const EntryLengths& lengths) {
  if (options.alignment == Alignment::kOffset) return Differences(options.q_offset, 0, options.k_offset, 0);
  if (options.alignment != Alignment::kBottomRight) return "top_left";
  if (options.q_lengths.empty() && options.kv_lengths.empty()) return "bottom_right";
  return Differences(options.kv_lengths, lengths.kv_len, options.q_lengths, lengths.q_len);
}

}  // namespace

Notes NotesOf(const Case& input) {
  Notes notes;
  const auto extent = ExtentOf(input);
  if (extent.ok() && !extent->packed) {
    notes["q_len"] = absl::StrCat(extent->lengths.front().q_len);
    notes["kv_len"] = absl::StrCat(extent->lengths.front().kv_len);
  }
  const AttentionOptions& options = input.request.options;
  const auto& weights = input.request.outputs.weights;
  // Rows that are listed are at no position that follows from their place.
  const bool listed = weights.has_value() && !weights->rows.empty();
  if (options.causal && !listed && extent.ok()) {
    notes["causal"] = PlaceOf(options, extent->lengths.front());
    if (!options.prefix_lengths.empty()) notes["prefix_lengths"] = absl::StrJoin(options.prefix_lengths, ",");
  }
  if (!input.tokens.empty()) notes["tokens"] = JsonOf(input.tokens);
  if (!input.key_tokens.empty()) notes["key_tokens"] = JsonOf(input.key_tokens);
  return notes;
}

}  // namespace attnd::attnctl
