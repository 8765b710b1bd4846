// Pixels as the bytes of a PNG file.
#ifndef ATTND_CLIENT_PICTURE_PNG_ENCODER_H_
#define ATTND_CLIENT_PICTURE_PNG_ENCODER_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace attnd::picture {

enum class PixelFormat { kRgb, kRgba };

// Of 8 bits per channel; `pixels` is [height, width, channels] and not empty. The same pixels
// give the same bytes: no time is in them. Thread-safe.
absl::StatusOr<std::string> EncodePng(int width, int height, PixelFormat format, std::span<const uint8_t> pixels);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_PNG_ENCODER_H_
