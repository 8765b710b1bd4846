// The font's file. Of this folder's sources only.
#ifndef ATTND_CLIENT_PICTURE_FONT_DATA_H_
#define ATTND_CLIENT_PICTURE_FONT_DATA_H_

#include <span>

namespace attnd::picture {

[[nodiscard]] std::span<const unsigned char> FontData();

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_FONT_DATA_H_
