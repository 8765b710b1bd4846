#include "client/picture/html.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/fill_page.h"
#include "client/picture/color.h"
#include "client/picture/layout.h"
#include "client/picture/page.h"
#include "client/picture/text.h"
#include "client/picture/weight_scale.h"
#include "client/picture/words.h"

namespace attnd::picture {
namespace {

using nlohmann::json;

// With more, weights lose their lower halves.
constexpr size_t kMostFloats = size_t{1} << 20U;
// As base64 they take less than 200 MB, and no canvas is larger than browsers allow.
constexpr size_t kMostWeights = size_t{1} << 26U;
constexpr int64_t kMostCells = 32'000;

void AppendLittleEndian(uint32_t bits, int bytes, std::string& text) {
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(static_cast<unsigned char>(bits >> (8 * i) & 0xFFU));
}

// Rounds to the upper half of float32, which keeps what is not finite.
uint32_t UpperHalf(float weight) {
  const auto bits = std::bit_cast<uint32_t>(weight);
  return std::isfinite(weight) ? (bits + 0x8000U) >> 16U : bits >> 16U;
}

std::string Encode(const std::vector<float>& weights, bool whole) {
  std::string bytes;
  bytes.reserve(weights.size() * (whole ? 4 : 2));
  for (float weight : weights) {
    // One NaN, whose upper half is one, too.
    if (std::isnan(weight)) weight = std::numeric_limits<float>::quiet_NaN();
    AppendLittleEndian(whole ? std::bit_cast<uint32_t>(weight) : UpperHalf(weight), whole ? 4 : 2, bytes);
  }
  return absl::Base64Escape(bytes);
}

json Displayables(const std::vector<std::string>& texts) {
  json list = json::array();
  for (const std::string& text : texts) list.push_back(Displayable(text));
  return list;
}

json ScaleOf(const AttentionMap& map, Weights weights) {
  const WeightScale scale = MakeWeightScale(map, weights);
  return {{"largest", scale.largest},
          {"root", scale.root},
          {"words", scale.Description()},
          {"anyVisible", scale.any_visible},
          {"anyHidden", scale.any_hidden}};
}

json HeadData(const HeadMap& head, bool whole) {
  json data = {{"title", Displayable(head.title)}, {"caption", CaptionOf(head)}, {"rows", head.rows},
               {"columns", head.columns},          {"pooled", IsPooled(head)},   {"mean", Encode(head.mean, whole)}};
  if (IsPooled(head)) data["max"] = Encode(head.max, whole);
  return data;
}

size_t CountWeights(const AttentionMap& map) {
  size_t count = 0;
  for (const HeadMap& head : map.heads) count += head.mean.size() + head.max.size();
  return count;
}

absl::Status CheckSize(const AttentionMap& map) {
  const size_t weights = CountWeights(map);
  if (weights > kMostWeights) {
    return absl::InvalidArgumentError(absl::StrCat("the page would have ", weights, " weights in it; at most ",
                                                   kMostWeights, ": show fewer heads or pool their weights"));
  }
  for (const HeadMap& head : map.heads) {
    if (std::max(head.rows, head.columns) <= kMostCells) continue;
    return absl::InvalidArgumentError(absl::StrCat("a head of [", head.rows, ", ", head.columns,
                                                   "] cells is too large for a page; at most ", kMostCells,
                                                   " on a side: pool its weights in larger cells"));
  }
  return absl::OkStatus();
}

std::string DataOf(const AttentionMap& map) {
  const bool whole = CountWeights(map) <= kMostFloats;
  json anchors = json::array();
  for (const Color& color : ScaleAnchors()) anchors.push_back({color.red, color.green, color.blue});
  json heads = json::array();
  bool pooled = false;
  for (const HeadMap& head : map.heads) {
    heads.push_back(HeadData(head, whole));
    pooled = pooled || IsPooled(head);
  }
  json scales = {{"mean", ScaleOf(map, &HeadMap::mean)}};
  if (pooled) scales["max"] = ScaleOf(map, &HeadMap::max);
  const json data = {{"title", Displayable(map.title)},
                     {"gridColumns", map.grid_columns},
                     {"rowTitles", Displayables(map.row_titles)},
                     {"columnTitles", Displayables(map.column_titles)},
                     {"queries", map.q_len},
                     {"keys", map.kv_len},
                     {"queryTokens", Displayables(map.query_tokens)},
                     {"keyTokens", Displayables(map.key_tokens)},
                     {"pooling", DescribePooling(map)},
                     {"encoding", whole ? "float32" : "bfloat16"},
                     {"anchors", std::move(anchors)},
                     {"scales", std::move(scales)},
                     {"heads", std::move(heads)}};
  // In ASCII; these end neither the element nor a comment, and mean the same in strings.
  const std::string text = data.dump(-1, ' ', /*ensure_ascii=*/true);
  return absl::StrReplaceAll(text, {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}});
}

}  // namespace

absl::StatusOr<std::string> DrawHtml(const AttentionMap& map) {
  if (auto status = CheckMap(map); !status.ok()) return status;
  if (auto status = CheckSize(map); !status.ok()) return status;
  const std::array<std::pair<std::string_view, std::string>, 3> parts = {
      {{"{{style}}", kPageStyle}, {"{{data}}", DataOf(map)}, {"{{script}}", kPageScript}}};
  return FillPage(kPageHtml, parts);
}

}  // namespace attnd::picture
