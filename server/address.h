// Where a server listens.
#ifndef ATTND_SERVER_ADDRESS_H_
#define ATTND_SERVER_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attnd {

// HOST:PORT, [IPV6]:PORT or unix:PATH.
struct Address {
  // Without brackets; empty if it is a path.
  std::string host;
  int port = 0;
  // Of a unix socket.
  std::string path;

  [[nodiscard]] bool is_unix() const { return host.empty(); }
  // As it was written, but for `//` after unix:.
  [[nodiscard]] std::string ToString() const;
};

// Fails with kInvalidArgument that says what came and what is allowed.
absl::StatusOr<Address> ParseAddress(std::string_view text);

// Whether only this machine can reach it: a unix socket, or a host all of whose addresses
// are loopback. Fails if the host cannot be resolved.
absl::StatusOr<bool> IsLocal(const Address& address);

// OK if `address` can be bound now; otherwise why not, such as "Address already in use".
// Unlike bind, a unix socket that another process listens on is in use.
absl::Status ProbeBind(const Address& address);

// Connects to whoever listens at `address` and hangs up. Not for unix sockets.
void Knock(const Address& address);

// `address` as a client on this machine reaches it: 0.0.0.0 and [::] become loopback.
Address ForLocalClient(Address address);

}  // namespace attnd

#endif  // ATTND_SERVER_ADDRESS_H_
