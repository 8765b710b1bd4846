#include "client/attnctl/summaries.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/table.h"
#include "core/attention/diagnostics.h"

namespace attnd::attnctl {
namespace {

// Up to here lines are worth reading one by one.
constexpr int64_t kMaxHeads = 256;
constexpr int64_t kMaxRows = 64;
constexpr int64_t kMaxK = 16;
// The contract's, where nothing was asked for.
constexpr int64_t kDefaultCount = 4;

using Lines = std::vector<std::vector<std::string>>;

std::string NameOf(const Tokens& tokens, int64_t index) {
  return index >= 0 && index < static_cast<int64_t>(tokens.size()) ? tokens[static_cast<size_t>(index)]
                                                                   : absl::StrCat(index);
}

std::string Number(float value) { return std::isnan(value) ? "nan" : absl::StrFormat("%.3f", value); }

// ".83", without the zero that says nothing.
std::string Share(float value) {
  const std::string text = absl::StrFormat("%.2f", value);
  return text.starts_with("0.") ? text.substr(1) : text;
}

// Tensors [batch, heads, rest...], packed [heads, rest...], as so many heads.
struct Heads {
  int64_t batch = 0;
  int64_t heads = 0;
  [[nodiscard]] int64_t count() const { return batch * heads; }
};

// What comes before the table or the lines of a head, or of an entry's heads.
std::string Heading(const Heads& heads, int64_t b, std::optional<int64_t> head) {
  std::vector<std::string> parts;
  if (heads.batch > 1) parts.push_back(absl::StrCat("batch ", b));
  if (head.has_value() && heads.count() > 1) parts.push_back(absl::StrCat("head ", *head));
  return parts.empty() ? "" : absl::StrCat(absl::StrJoin(parts, ", "), "\n");
}

std::string TopKLine(std::span<const float> weights, std::span<const int64_t> keys, const Tokens& key_tokens) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < weights.size(); ++i) {
    const float weight = weights[i];
    if (std::isnan(weight)) return "nan";
    if (keys[i] < 0) break;
    parts.push_back(absl::StrCat(NameOf(key_tokens, keys[i]), key_tokens.empty() ? ": " : " ", Number(weight)));
  }
  return parts.empty() ? "no visible key" : absl::StrJoin(parts, ", ");
}

// Of the strongest keys of a head, "0 The (.83), 3 (.05)".
std::string StrongestKeys(std::span<const float> masses, std::span<const int64_t> keys, const Tokens& key_tokens) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < masses.size(); ++i) {
    if (keys[i] < 0) break;
    const std::string token = key_tokens.empty() ? "" : absl::StrCat(" ", NameOf(key_tokens, keys[i]));
    parts.push_back(absl::StrCat(keys[i], token, " (", Share(masses[i]), ")"));
  }
  return absl::StrJoin(parts, ", ");
}

std::vector<std::string> StatisticTitles(const DiagnosticsOutput& asked) {
  return {"entropy",
          "evenness",
          "distance",
          "largest",
          "self",
          "previous",
          "next",
          absl::StrCat("first ", asked.first_keys.value_or(kDefaultCount)),
          absl::StrCat("window ", asked.window.value_or(kDefaultCount))};
}

std::vector<std::string> TitlesBetween(std::vector<std::string> first, const DiagnosticsOutput& asked) {
  const auto statistics = StatisticTitles(asked);
  first.insert(first.end(), statistics.begin(), statistics.end());
  return first;
}

bool HaveElements(const codec::StatisticsReply& statistics, int64_t count) {
  return std::all_of(statistics.begin(), statistics.end(), [&](const codec::ReplyTensor& tensor) {
    return static_cast<int64_t>(tensor.values.size()) == count;
  });
}

// The heads, if all parts of the answer agree about them: another server may be wrong.
std::optional<Heads> HeadsOf(const codec::DiagnosticsReply& diagnostics) {
  const auto& shape = diagnostics.pattern_scores.shape;
  if (shape.size() != 2) return std::nullopt;
  const Heads heads{shape[0], shape[1]};
  const auto count = static_cast<int64_t>(diagnostics.pattern_scores.values.size());
  const auto columns = static_cast<int64_t>(diagnostics.column_keys.size());
  if (count == 0 || count != static_cast<int64_t>(diagnostics.patterns.size()) ||
      !HaveElements(diagnostics.heads, count) || columns % count != 0 ||
      columns != static_cast<int64_t>(diagnostics.column_mass.values.size())) {
    return std::nullopt;
  }
  return heads;
}

std::string PatternCounts(const std::vector<std::string>& patterns) {
  std::map<std::string, int64_t> counts;
  for (const std::string& pattern : patterns) ++counts[pattern];
  std::vector<std::pair<int64_t, std::string>> sorted;
  sorted.reserve(counts.size());
  for (const auto& [pattern, count] : counts) sorted.emplace_back(-count, pattern);
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> parts;
  parts.reserve(sorted.size());
  for (const auto& [count, pattern] : sorted) parts.push_back(absl::StrCat(pattern, " ", -count));
  return absl::StrCat("  ", patterns.size(), " heads: ", absl::StrJoin(parts, ", "), "\n");
}

std::vector<std::string> HeadLine(const codec::DiagnosticsReply& diagnostics, int64_t head, int64_t at,
                                  const Tokens& key_tokens) {
  const auto i = static_cast<size_t>(at);
  std::vector<std::string> line = {absl::StrCat(head), diagnostics.patterns[i],
                                   Number(diagnostics.pattern_scores.values[i])};
  for (const codec::ReplyTensor& tensor : diagnostics.heads) line.push_back(Number(tensor.values[i]));
  const size_t columns = diagnostics.column_keys.size() / diagnostics.patterns.size();
  line.push_back(StrongestKeys(std::span(diagnostics.column_mass.values).subspan(i * columns, columns),
                               std::span(diagnostics.column_keys).subspan(i * columns, columns), key_tokens));
  return line;
}

std::string HeadTables(const codec::DiagnosticsReply& diagnostics, const Heads& heads, const DiagnosticsOutput& asked,
                       const Tokens& key_tokens) {
  std::string text;
  for (int64_t b = 0; b < heads.batch; ++b) {
    Lines lines = {TitlesBetween({"head", "pattern", "score"}, asked)};
    lines.front().emplace_back("strongest keys");
    for (int64_t head = 0; head < heads.heads; ++head) {
      lines.push_back(HeadLine(diagnostics, head, b * heads.heads + head, key_tokens));
    }
    absl::StrAppend(&text, Heading(heads, b, std::nullopt), FormatColumns(lines, {1, lines.front().size() - 1}));
  }
  return text;
}

std::string SummarizeRows(const codec::StatisticsReply& rows) {
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    pairs.emplace_back(absl::StrCat("  ", std::string(NameOf(static_cast<Statistic>(i)))), Summarize(rows[i].values));
  }
  return FormatPairs(pairs);
}

std::string DescribeRows(const codec::StatisticsReply& rows, const DiagnosticsOutput& asked, const Tokens& tokens) {
  const auto& shape = rows.front().shape;
  const auto count = static_cast<int64_t>(rows.front().values.size());
  std::string text = absl::StrCat("diagnostics of rows ", ShapeString(shape), "\n");
  const bool known = (shape.size() == 2 || shape.size() == 3) && HaveElements(rows, count);
  if (!known || count == 0 || count > kMaxRows) return text + SummarizeRows(rows);
  const Heads heads{shape.size() == 3 ? shape[0] : 1, shape[shape.size() - 2]};
  const int64_t q_len = shape.back();
  for (int64_t i = 0; i < heads.count(); ++i) {
    Lines lines = {TitlesBetween({"row"}, asked)};
    for (int64_t q = 0; q < q_len; ++q) {
      std::vector<std::string>& line = lines.emplace_back(1, NameOf(tokens, q));
      for (const auto& tensor : rows) line.push_back(Number(tensor.values[static_cast<size_t>(i * q_len + q)]));
    }
    absl::StrAppend(&text, Heading(heads, i / heads.heads, i % heads.heads), FormatColumns(lines, {0}));
  }
  return text;
}

}  // namespace

std::string DescribeTopK(const codec::TopKReply& top_k, const TopKOutput& asked, const Tokens& tokens,
                         const Tokens& key_tokens) {
  const auto& shape = top_k.weights.shape;
  const std::span<const float> weights(top_k.weights.values);
  std::string text = absl::StrCat("top ", asked.k, " of each row ", ShapeString(shape), "\n");
  const bool known = (shape.size() == 3 || shape.size() == 4) && top_k.keys.size() == weights.size();
  if (!known || weights.empty() || shape.back() > kMaxK ||
      static_cast<int64_t>(weights.size()) / shape.back() > kMaxHeads) {
    return absl::StrCat(text, "  ", Summarize(weights), "\n");
  }
  const auto k = static_cast<size_t>(shape.back());
  const int64_t rows = shape[shape.size() - 2];
  const Heads heads{shape.size() == 4 ? shape[0] : 1, shape[shape.size() - 3]};
  for (int64_t i = 0; i < heads.count(); ++i) {
    Lines lines;
    for (int64_t row = 0; row < rows; ++row) {
      const bool listed = static_cast<int64_t>(asked.rows.size()) == rows;
      const int64_t query = listed ? asked.rows[static_cast<size_t>(row)] : row;
      const size_t at = static_cast<size_t>(i * rows + row) * k;
      lines.push_back(
          {NameOf(tokens, query), TopKLine(weights.subspan(at, k), std::span(top_k.keys).subspan(at, k), key_tokens)});
    }
    absl::StrAppend(&text, Heading(heads, i / heads.heads, i % heads.heads), FormatColumns(lines, {0, 1}));
  }
  return text;
}

std::string DescribeDiagnostics(const codec::DiagnosticsReply& diagnostics, const DiagnosticsOutput& asked,
                                const Tokens& tokens, const Tokens& key_tokens) {
  std::string text = absl::StrCat("diagnostics ", ShapeString(diagnostics.pattern_scores.shape), "\n");
  const auto heads = HeadsOf(diagnostics);
  if (!heads.has_value()) {
    text += SummarizeRows(diagnostics.heads);
  } else if (heads->count() > kMaxHeads) {
    text += PatternCounts(diagnostics.patterns) + SummarizeRows(diagnostics.heads);
  } else {
    text += HeadTables(diagnostics, *heads, asked, key_tokens);
  }
  return diagnostics.rows.has_value() ? absl::StrCat(text, "\n", DescribeRows(*diagnostics.rows, asked, tokens)) : text;
}

std::string DescribeHeatmap(const codec::HeatmapReply& heatmap) {
  return absl::StrCat(
      "heatmap ", ShapeString(heatmap.mean.shape), "\n",
      "  a picture of it: attnctl heatmap with the same options, or --from a file written by --output\n");
}

}  // namespace attnd::attnctl
