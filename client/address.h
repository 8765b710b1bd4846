// Where a server is, as a user writes it.
#ifndef ATTND_CLIENT_ADDRESS_H_
#define ATTND_CLIENT_ADDRESS_H_

#include <string>

#include "absl/status/status.h"

namespace attnd {

// OK for HOST:PORT, [IPV6]:PORT, unix:PATH and what else carries a gRPC scheme;
// kInvalidArgument "address: ..." for what gRPC would take for something else, such as a
// host without a port (it would mean port 443). Nothing is resolved. Thread-safe.
absl::Status CheckAddress(const std::string& address);

}  // namespace attnd

#endif  // ATTND_CLIENT_ADDRESS_H_
