// Whether a server is there.
#ifndef ATTND_CLIENT_LOAD_AWAIT_SERVER_H_
#define ATTND_CLIENT_LOAD_AWAIT_SERVER_H_

#include <grpcpp/channel.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"

namespace attnd::load {

// Longest wait for a connection.
inline constexpr std::chrono::milliseconds kConnectPatience{5000};

// Connects the channel, and returns once the server has answered anything. kUnavailable "no
// server at ADDRESS (...)", also after `patience`; kCancelled soon after `stop` was set.
// Thread-safe.
absl::Status AwaitServer(const std::string& address, const std::shared_ptr<grpc::Channel>& channel,
                         std::chrono::milliseconds patience, const std::atomic<bool>& stop);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_AWAIT_SERVER_H_
