// The server as a whole: started, stopped, and nothing in between that anybody outside
// needs to know.
#ifndef ATTND_SERVER_SERVER_H_
#define ATTND_SERVER_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/options.h"

namespace attnd {

// A running server. Thread-compatible.
class Server {
 public:
  // Binds, warms up and serves. Fails with one line that says what could not be done
  // (kUnavailable for an address that is taken). REQUIRES: options.Validate() is OK.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);

  // Stops at once if Drain has not been called: requests in progress end with CANCELLED.
  virtual ~Server() = default;

  // Where it listens, with real ports, in the order of the options.
  [[nodiscard]] virtual const std::vector<std::string>& grpc_addresses() const = 0;
  // Empty if there is none.
  [[nodiscard]] virtual const std::string& http_address() const = 0;

  // Stops in good order: reports not ready, serves on for options.lame_duck, refuses new
  // requests, answers those that were admitted within options.drain_timeout, closes. True
  // if all were answered; the rest ended with CANCELLED. Call once.
  virtual bool Drain() = 0;
};

}  // namespace attnd

#endif  // ATTND_SERVER_SERVER_H_
