#include "client/picture/words.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/picture/text.h"
#include "client/picture/weight_scale.h"

namespace attnd::picture {
namespace {

std::string DescribeSide(std::string_view one, std::string_view several, const CellRange& range,
                         const std::vector<std::string>& tokens) {
  if (range.last - range.first > 1) {
    return absl::StrFormat("%s %d to %d", several, range.first, range.last - 1);
  }
  std::string text = absl::StrFormat("%s %d", one, range.first);
  const auto token = static_cast<size_t>(range.first);
  if (token < tokens.size()) text += absl::StrFormat(" \u201c%s\u201d", Displayable(tokens[token]));
  return text;
}

CellRange SideOf(const HeadMap& head, int64_t i, int64_t cells, int64_t length) {
  return IsPooled(head) ? RangeOf(i, cells, length) : CellRange{i, i + 1};
}

}  // namespace

CellRange RangeOf(int64_t i, int64_t cells, int64_t length) {
  const int64_t first = i * length / cells;
  return {first, std::max((i + 1) * length / cells, first + 1)};
}

std::vector<std::string> CaptionOf(const HeadMap& head) {
  std::vector<std::string> lines;
  if (head.rows == 0) lines.emplace_back("no queries");
  if (head.rows > 0 && head.columns == 0) lines.emplace_back("no keys");
  const bool hidden = std::all_of(head.mean.begin(), head.mean.end(), [](float weight) { return std::isnan(weight); });
  if (!head.mean.empty() && hidden) lines.emplace_back("nothing is visible");
  if (!head.pattern.empty()) {
    lines.push_back(Displayable(head.pattern));
    if (head.pattern_score.has_value()) lines.back() += absl::StrFormat(" %.2f", *head.pattern_score);
  }
  if (head.entropy.has_value()) lines.push_back(absl::StrFormat("entropy %.2f nats", *head.entropy));
  return lines;
}

std::string DescribeCell(const AttentionMap& map, const HeadMap& head, int64_t row, int64_t column) {
  const auto cell = static_cast<size_t>(row * head.columns + column);
  std::string text =
      absl::StrCat(DescribeSide("query", "queries", SideOf(head, row, head.rows, map.q_len), map.query_tokens), ", ",
                   DescribeSide("key", "keys", SideOf(head, column, head.columns, map.kv_len), map.key_tokens), ": ");
  if (std::isnan(head.mean[cell])) return text + "not visible";
  if (!IsPooled(head)) return text + FormatWeight(head.mean[cell]);
  return absl::StrCat(text, "mean ", FormatWeight(head.mean[cell]), ", largest ", FormatWeight(head.max[cell]));
}

std::string DescribePooling(const AttentionMap& map) {
  const auto pooled = std::find_if(map.heads.begin(), map.heads.end(), IsPooled);
  if (pooled == map.heads.end() || pooled->rows == 0 || pooled->columns == 0) return "";
  return absl::StrFormat("each cell: %.3g \u00d7 %.3g pairs",
                         static_cast<double>(map.q_len) / static_cast<double>(pooled->rows),
                         static_cast<double>(map.kv_len) / static_cast<double>(pooled->columns));
}

}  // namespace attnd::picture
