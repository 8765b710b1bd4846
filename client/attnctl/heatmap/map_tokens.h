// The tokens along the sides of a picture.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_TOKENS_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_TOKENS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/heatmap/map_options.h"

namespace attnd::attnctl {

// Those of a metadata text: a JSON list, or one list per batch entry; or words with newlines,
// commas or blanks between them.
std::vector<std::string> TokensOf(const std::string& text, int64_t batch);

// The lines of a file.
absl::StatusOr<std::vector<std::string>> ReadTokens(const std::string& path);

// What a source knows itself.
struct SourceTokens {
  // How errors call them.
  std::string where;
  std::vector<std::string> tokens;
  std::string key_where;
  // Empty if they are not known to be others than the queries'.
  std::vector<std::string> key_tokens;
  // Queries or keys behind those drawn were cut off, tokens for them do not matter.
  bool cut = false;
};

// Sets both sides' tokens: the options' or else the source's; the keys' are the queries' if
// there are as many and nobody says otherwise. Fails, naming the flag or the source, if there
// are not as many as queries or keys. REQUIRES: the map has q_len and kv_len.
absl::Status SetTokens(const MapOptions& options, const SourceTokens& source, picture::AttentionMap* map);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_TOKENS_H_
