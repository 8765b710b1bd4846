// Connections to servers, with the settings that messages of any size and servers that
// restart need.
#ifndef ATTND_CLIENT_CHANNEL_H_
#define ATTND_CLIENT_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace attnd {

struct ChannelOptions {
  // gRPC sends a call again by itself if the server never saw it; for that it must keep the
  // request, of any size.
  bool resends = true;
  // A connection that no other channel uses; otherwise channels to an address share one.
  bool own_connection = false;
};

// Does not wait for the server. Thread-safe.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const ChannelOptions& options);

// kUnavailable "no server at ADDRESS (REASON)"; the reason is the part of gRPC's nested
// `message` that says why.
absl::Status NoServerAt(const std::string& address, const std::string& message);

}  // namespace attnd

#endif  // ATTND_CLIENT_CHANNEL_H_
