// `attnd --healthcheck`: one server asks another how it is.
#ifndef ATTND_SERVER_HEALTHCHECK_H_
#define ATTND_SERVER_HEALTHCHECK_H_

#include "absl/status/status.h"
#include "server/address.h"

namespace attnd {

// OK if the server at `address` answers within three seconds that it is serving; otherwise
// what was heard instead.
absl::Status CheckHealth(const Address& address);

}  // namespace attnd

#endif  // ATTND_SERVER_HEALTHCHECK_H_
