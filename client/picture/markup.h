// Text inside XML and HTML.
#ifndef ATTND_CLIENT_PICTURE_MARKUP_H_
#define ATTND_CLIENT_PICTURE_MARKUP_H_

#include <string>
#include <string_view>

namespace attnd::picture {

// `text` such that it stays text, between tags and in quoted attributes.
[[nodiscard]] std::string EscapeMarkup(std::string_view text);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_MARKUP_H_
