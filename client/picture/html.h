// Attention as a page to explore.
#ifndef ATTND_CLIENT_PICTURE_HTML_H_
#define ATTND_CLIENT_PICTURE_HTML_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/picture/attention_map.h"

namespace attnd::picture {

// One self-contained page (no network) with all heads, their means and maxima; whatever the
// map's texts contain remains text. Weights are float32, or its upper half where there are
// more than a million. kInvalidArgument if the map's sizes contradict each other or it has
// more weights than browsers can take. Thread-safe.
absl::StatusOr<std::string> DrawHtml(const AttentionMap& map);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_HTML_H_
