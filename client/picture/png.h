// Attention as an image in a PNG file.
#ifndef ATTND_CLIENT_PICTURE_PNG_H_
#define ATTND_CLIENT_PICTURE_PNG_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/picture/attention_map.h"
#include "client/picture/theme.h"

namespace attnd::picture {

// The means of all heads as the bytes of an 8-bit RGB PNG, the same for the same map. A map
// without heads, cells or visible pairs gives a picture that says so. kInvalidArgument if the
// map's sizes contradict each other or the picture would be too large. Thread-safe.
absl::StatusOr<std::string> DrawPng(const AttentionMap& map, Theme theme);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_PNG_H_
