#include "client/address.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

constexpr std::array<std::string_view, 6> kSchemes = {"unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:"};

bool IsPort(const std::string& text) {
  int port = 0;
  const bool digits = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && absl::SimpleAtoi(text, &port) && port >= 1 && port <= 65535;
}

bool IsHost(std::string_view host) {
  if (host.starts_with('[')) return host.ends_with(']');
  return !host.empty() && host.find_first_of(":/ []") == std::string_view::npos;
}

}  // namespace

absl::Status CheckAddress(const std::string& address) {
  const std::string_view view = address;
  for (const std::string_view scheme : kSchemes) {
    if (view.starts_with(scheme) && view.size() > scheme.size()) return absl::OkStatus();
  }
  const size_t colon = view.rfind(':');
  if (colon != std::string_view::npos && IsHost(view.substr(0, colon)) && IsPort(address.substr(colon + 1))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("address: '", address, "' is none of HOST:PORT, [IPV6]:PORT and unix:PATH"));
}

}  // namespace attnd
