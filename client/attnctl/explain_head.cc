#include "client/attnctl/explain_head.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/attnctl/option_values.h"

namespace attnd::attnctl {
namespace {

// More rows or columns are no page to read.
constexpr int64_t kMaxRead = 16;

// The rows of one head inside a tensor.
struct Place {
  int64_t rows;
  int64_t columns;
  // Where a row begins.
  std::function<int64_t(int64_t row)> begin;
};

absl::StatusOr<Matrix> Cut(const codec::AttendReply& reply, std::string_view name, const Place& place) {
  const auto named =
      std::find_if(reply.explain.begin(), reply.explain.end(), [&](const auto& pair) { return pair.first == name; });
  if (named == reply.explain.end()) {
    return absl::InternalError(absl::StrCat("the server's answer does not explain '", std::string(name), "'"));
  }
  const std::vector<float>& values = named->second.values;
  Matrix matrix{place.rows, place.columns, {}};
  for (int64_t row = 0; row < place.rows && place.columns > 0; ++row) {
    const int64_t begin = place.begin(row);
    if (begin < 0 || begin + place.columns > static_cast<int64_t>(values.size())) {
      return absl::InternalError(absl::StrCat("the server's '", std::string(name), "' has the wrong shape"));
    }
    matrix.values.insert(matrix.values.end(), values.begin() + begin, values.begin() + begin + place.columns);
  }
  return matrix;
}

absl::StatusOr<int64_t> ReadRow(const std::string& text, const char* what, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return found - names.begin();
  const auto count = static_cast<int64_t>(names.size());
  if (const auto index = ToInteger(text); index.has_value()) {
    if (*index >= 0 && *index < count) return *index;
    return absl::InvalidArgumentError(
        absl::StrCat("there is no ", what, " ", *index, "; 0 to ", count - 1, " are there"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no ", what, "; there are ", absl::StrJoin(names, ", ")));
}

}  // namespace

std::vector<std::string> RowNames(const std::vector<std::string>& tokens, const char* what, int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) {
    if (static_cast<int64_t>(tokens.size()) != count) {
      names.push_back(absl::StrCat(what, " ", i));
      continue;
    }
    const std::string& token = tokens[static_cast<size_t>(i)];
    const bool lone = std::count(tokens.begin(), tokens.end(), token) == 1;
    names.push_back(lone ? token : absl::StrCat(token, "[", i, "]"));
  }
  return names;
}

absl::Status CheckReadable(const AttentionPlan& plan, const HeadChoice& choice) {
  const Dims& dims = plan.dims;
  for (const auto& [flag, asked, count, what] : {std::tuple{"--batch", choice.batch, dims.batch, "batch entries"},
                                                 std::tuple{"--head", choice.head, dims.heads, "heads"}}) {
    if (asked >= 0 && asked < count) continue;
    return absl::InvalidArgumentError(absl::StrCat(flag, ": there is no ", asked, " among ", count, " ", what));
  }
  const int64_t queries = plan.queries.count[choice.batch];
  const int64_t keys = plan.keys.count[choice.batch];
  if (queries == 0 || keys == 0) return absl::InvalidArgumentError("there is nothing to explain: no query, or no key");
  if (std::max({queries, keys, dims.head_dim, dims.value_dim}) <= kMaxRead) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("too large to read: ", queries, " queries, ", keys, " keys, head_dim ", dims.head_dim,
                   ", value_dim ", dims.value_dim, ", of which at most ", kMaxRead,
                   " each are explained; attnctl attend computes it, attnctl heatmap shows its weights"));
}

absl::StatusOr<ExplainedHead> PickHead(const Case& input, const AttentionPlan& plan, const codec::AttendReply& reply,
                                       const HeadChoice& choice) {
  const auto [b, h] = choice;
  const int64_t kv_head = h / plan.dims.group();
  const int64_t queries = plan.queries.count[b];
  const int64_t keys = plan.keys.count[b];
  ExplainedHead head;
  head.choice = choice;
  head.kv_head = kv_head;
  head.queries_used = plan.q_used[b];
  head.query_names = RowNames(input.tokens, "query", queries);
  head.key_names = RowNames(KeyTokensOf(input), "key", keys);

  const Place pairs = {queries, keys, [&, b = b, h = h](int64_t q) { return plan.PairsAt(*plan.explain, b, h, q); }};
  const Place query = {queries, plan.dims.head_dim, [&, b = b, h = h](int64_t q) { return plan.QueryAt(b, h, q); }};
  const Place key = {keys, plan.dims.head_dim, [&, b = b](int64_t k) { return plan.KeyAt(b, kv_head, k); }};
  const Place value = {keys, plan.dims.value_dim, [&, b = b](int64_t k) { return plan.ValueAt(b, kv_head, k); }};
  const Place output = {queries, plan.dims.value_dim, [&, b = b, h = h](int64_t q) { return plan.OutputAt(b, h, q); }};
  if (plan.softcap > 0) head.capped.emplace();
  for (const auto& [name, place, matrix] :
       {std::tuple{"query", &query, &head.query}, std::tuple{"key", &key, &head.key},
        std::tuple{"value", &value, &head.value}, std::tuple{"unscaled", &pairs, &head.unscaled},
        std::tuple{"scaled", &pairs, &head.scaled},
        std::tuple{"capped", &pairs, head.capped.has_value() ? &*head.capped : nullptr},
        std::tuple{"biased", &pairs, &head.biased}, std::tuple{"visible", &pairs, &head.visible},
        std::tuple{"weights", &pairs, &head.weights}, std::tuple{"output", &output, &head.output}}) {
    if (matrix == nullptr) continue;
    auto cut = Cut(reply, name, *place);
    if (!cut.ok()) return cut.status();
    *matrix = *std::move(cut);
  }
  return head;
}

absl::StatusOr<Cell> ReadCell(const std::string& text, const std::vector<std::string>& query_names,
                              const std::vector<std::string>& key_names) {
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  if (parts.size() != 2) return Unfit(text, "a query and a key with a comma between them");
  const auto query = ReadRow(parts[0], "query", query_names);
  if (!query.ok()) return query.status();
  const auto key = ReadRow(parts[1], "key", key_names);
  if (!key.ok()) return key.status();
  return Cell{*query, *key};
}

Cell StrongestCell(const ExplainedHead& head) {
  Cell cell{std::max<int64_t>(0, head.queries_used - 1), 0};
  for (int64_t k = 1; k < head.weights.columns; ++k) {
    if (head.weights.at(cell.query, k) > head.weights.at(cell.query, cell.key)) cell.key = k;
  }
  return cell;
}

}  // namespace attnd::attnctl
