// Pages that are files of their own, with places for what a program puts in.
#ifndef ATTND_CLIENT_FILL_PAGE_H_
#define ATTND_CLIENT_FILL_PAGE_H_

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace attnd {

// The page with each place, such as "{{data}}", replaced by its part. What a part contains is
// not taken for a place. REQUIRES: the places are in the page, in this order.
inline std::string FillPage(std::string_view page, std::span<const std::pair<std::string_view, std::string>> parts) {
  std::string filled;
  for (const auto& [place, part] : parts) {
    const size_t at = page.find(place);
    filled += page.substr(0, at);
    filled += part;
    page.remove_prefix(at + place.size());
  }
  filled += page;
  return filled;
}

}  // namespace attnd

#endif  // ATTND_CLIENT_FILL_PAGE_H_
