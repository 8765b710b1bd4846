// Attention as an SVG document.
#ifndef ATTND_CLIENT_PICTURE_SVG_H_
#define ATTND_CLIENT_PICTURE_SVG_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/picture/attention_map.h"

namespace attnd::picture {

// The means of all heads, laid out as DrawPng does, in one document that needs nothing else
// and is light or dark as its viewer prefers. Few cells say in titles what they are; where
// there are many, each head is an image. kInvalidArgument as for DrawPng. Thread-safe.
absl::StatusOr<std::string> DrawSvg(const AttentionMap& map);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_SVG_H_
