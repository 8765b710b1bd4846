// absl::Status on its way to the wire.
#ifndef ATTND_SERVER_STATUS_H_
#define ATTND_SERVER_STATUS_H_

#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace attnd {

// Trailer by which a server tells gRPC clients when to try again, in milliseconds
// (gRFC A6).
inline constexpr char kPushbackTrailer[] = "grpc-retry-pushback-ms";

// The same code; the message, bounded to about a kilobyte and never empty on an error;
// and its google.rpc details. Thread-safe.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Value of kPushbackTrailer, if the status carries a hint.
std::optional<std::string> PushbackOf(const absl::Status& status);

// "OK", "InvalidArgument", ...: the word that gRPC dashboards query.
const char* CodeName(grpc::StatusCode code);

}  // namespace attnd

#endif  // ATTND_SERVER_STATUS_H_
