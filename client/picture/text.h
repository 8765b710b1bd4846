// Text of unknown origin, such as tokens, made fit to be drawn.
#ifndef ATTND_CLIENT_PICTURE_TEXT_H_
#define ATTND_CLIENT_PICTURE_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace attnd::picture {

// Characters of UTF-8; what is malformed becomes U+FFFD.
[[nodiscard]] std::u32string DecodeUtf8(std::string_view text);

// The reverse, of characters that DecodeUtf8 gives.
[[nodiscard]] std::string EncodeUtf8(std::u32string_view characters);

// Well-formed UTF-8 of at most `most` characters, an ellipsis included if something is left
// out. A line's end, a tab and spaces that are the whole text have symbols. Control and
// format characters, fillers, tags, and what is not allowed in XML become U+FFFD; spaces of
// other kinds and variation selectors stay.
[[nodiscard]] std::string Displayable(std::string_view text, size_t most = 200);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_TEXT_H_
