#include "client/picture/png_encoder.h"

#include <png.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace attnd::picture {

absl::StatusOr<std::string> EncodePng(int width, int height, PixelFormat format, std::span<const uint8_t> pixels) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = format == PixelFormat::kRgb ? PNG_FORMAT_RGB : PNG_FORMAT_RGBA;
  // More than ever needed, of which only what is written takes memory.
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  const auto bytes = std::make_unique_for_overwrite<char[]>(size);
  if (png_image_write_to_memory(&image, bytes.get(), &size, 0, pixels.data(), 0, nullptr) == 0) {
    return absl::InternalError(absl::StrCat("libpng: ", image.message));
  }
  return std::string(bytes.get(), size);
}

}  // namespace attnd::picture
