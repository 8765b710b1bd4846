#include "client/attnctl/heatmap/map_tokens.h"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/runtime/file.h"

namespace attnd::attnctl {
namespace {

using nlohmann::json;

std::optional<std::vector<std::string>> Strings(const json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<std::string> strings;
  for (const json& element : list) {
    if (!element.is_string()) return std::nullopt;
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

std::optional<std::vector<std::string>> FromJson(const std::string& text, int64_t batch) {
  const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array() || list.empty()) return std::nullopt;
  if (!list.front().is_array()) return Strings(list);
  if (batch >= static_cast<int64_t>(list.size())) return std::nullopt;
  return Strings(list[static_cast<size_t>(batch)]);
}

std::vector<std::string> Lines(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<std::string> lines = absl::StrSplit(absl::string_view(text.data(), text.size()), '\n');
  for (std::string& line : lines) {
    if (line.ends_with('\r')) line.pop_back();
  }
  return lines;
}

absl::Status CheckCount(const std::string& where, std::vector<std::string>* tokens, int64_t len, const char* what,
                        bool cut) {
  const auto count = static_cast<int64_t>(tokens->size());
  if (count == 0 || count == len) return absl::OkStatus();
  if (cut && count > len) {
    tokens->resize(static_cast<size_t>(len));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", count, " tokens for ", len, " ", what));
}

}  // namespace

std::vector<std::string> TokensOf(const std::string& text, int64_t batch) {
  if (auto tokens = FromJson(text, batch); tokens.has_value()) return *std::move(tokens);
  if (text.find('\n') != std::string::npos) return Lines(text);
  const char separator = text.find(',') != std::string::npos ? ',' : ' ';
  return absl::StrSplit(text, separator, absl::SkipEmpty());
}

absl::StatusOr<std::vector<std::string>> ReadTokens(const std::string& path) {
  const auto contents = ReadFile(path);
  if (!contents.ok()) return contents.status();
  const auto bytes = contents->bytes();
  return Lines({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

absl::Status SetTokens(const MapOptions& options, const SourceTokens& source, picture::AttentionMap* map) {
  const bool given = !options.tokens.empty();
  map->query_tokens = given ? options.tokens : source.tokens;
  const std::string where = given ? "--tokens" : source.where;
  if (auto status = CheckCount(where, &map->query_tokens, map->q_len, "queries", source.cut); !status.ok()) {
    return status;
  }
  const bool keys_given = !options.key_tokens.empty();
  map->key_tokens = keys_given ? options.key_tokens : source.key_tokens;
  if (map->key_tokens.empty() && map->q_len == map->kv_len) map->key_tokens = map->query_tokens;
  const std::string key_where = keys_given ? "--key-tokens" : source.key_where;
  return CheckCount(key_where, &map->key_tokens, map->kv_len, "keys", source.cut);
}

}  // namespace attnd::attnctl
