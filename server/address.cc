#include "server/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace attnd {
namespace {

using AddressInfo = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SystemError(int error) { return absl::UnavailableError(std::generic_category().message(error)); }

absl::Status BadAddress(std::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Printable(text, 100), "\" is no address; it must be HOST:PORT, [IPV6]:PORT or unix:PATH"));
}

absl::StatusOr<AddressInfo> Resolve(const Address& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot resolve \"", Printable(address.host, 100), "\": ", gai_strerror(error)));
  }
  return AddressInfo(list, &freeaddrinfo);
}

bool IsLoopback(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  return address.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
}

absl::Status ProbeUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), static_cast<char*>(address.sun_path));
  const Socket client(AF_UNIX);
  if (client.fd() < 0) return SystemError(errno);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (connect(client.fd(), raw, sizeof(address)) == 0) return SystemError(EADDRINUSE);
  if (errno == ECONNREFUSED) return absl::OkStatus();  // a socket that nobody listens on is replaced
  if (errno != ENOENT) return SystemError(errno);
  const Socket server(AF_UNIX);
  if (server.fd() < 0) return SystemError(errno);
  if (bind(server.fd(), raw, sizeof(address)) != 0) return SystemError(errno);
  unlink(path.c_str());
  return absl::OkStatus();
}

absl::StatusOr<int> ParsePort(std::string_view text) {
  int port = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Printable(text, 40), "\" is no port; it must be 0 (any) to 65535"));
  }
  return port;
}

}  // namespace

std::string Address::ToString() const {
  if (is_unix()) return "unix:" + path;
  const bool v6 = host.find(':') != std::string::npos;
  return absl::StrCat(v6 ? "[" : "", host, v6 ? "]:" : ":", port);
}

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  constexpr std::string_view kUnix = "unix:";
  Address address;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    if (address.path.starts_with("///")) address.path.erase(0, 2);
    if (address.path.empty() || address.path.find('\0') != std::string::npos) return BadAddress(text);
    constexpr size_t kLongestPath = sizeof(sockaddr_un::sun_path) - 1;
    if (address.path.size() > kLongestPath) {
      return absl::InvalidArgumentError(absl::StrCat("the path of a unix socket has at most ", kLongestPath,
                                                     " bytes; this one has ", address.path.size()));
    }
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return BadAddress(text);
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  if (!brackets && host.find_first_of(":[]") != std::string_view::npos) return BadAddress(text);
  const absl::StatusOr<int> port = ParsePort(text.substr(colon + 1));
  if (!port.ok()) return port.status();
  address.host = host;
  address.port = *port;
  return address;
}

absl::StatusOr<bool> IsLocal(const Address& address) {
  if (address.is_unix()) return true;
  const absl::StatusOr<AddressInfo> resolved = Resolve(address);
  if (!resolved.ok()) return resolved.status();
  for (const addrinfo* it = resolved->get(); it != nullptr; it = it->ai_next) {
    if (!IsLoopback(*it->ai_addr)) return false;
  }
  return true;
}

absl::Status ProbeBind(const Address& address) {
  if (address.is_unix()) return ProbeUnix(address.path);
  const absl::StatusOr<AddressInfo> resolved = Resolve(address);
  if (!resolved.ok()) return resolved.status();
  for (const addrinfo* it = resolved->get(); it != nullptr; it = it->ai_next) {
    const Socket server(it->ai_family);
    const int on = 1;
    (void)setsockopt(server.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(server.fd(), it->ai_addr, it->ai_addrlen) != 0) return SystemError(errno);
    if (listen(server.fd(), 1) != 0) return SystemError(errno);
  }
  return absl::OkStatus();
}

void Knock(const Address& address) {
  const absl::StatusOr<AddressInfo> resolved = Resolve(address);
  if (!resolved.ok()) return;
  const addrinfo& info = **resolved;
  const Socket client(info.ai_family);
  if (client.fd() >= 0) (void)connect(client.fd(), info.ai_addr, info.ai_addrlen);
}

Address ForLocalClient(Address address) {
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return address;
}

}  // namespace attnd
