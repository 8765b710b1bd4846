// What unary calls say in metadata instead of in their message.
#ifndef ATTND_SERVER_REQUEST_METADATA_H_
#define ATTND_SERVER_REQUEST_METADATA_H_

#include <grpcpp/server_context.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/runtime/clock.h"

namespace attnd {

struct RequestMetadata {
  // `attnd-priority`.
  int priority = 0;
  // `attnd-tenant`.
  std::string tenant;
  // Of `traceparent` (W3C Trace Context); empty if there is none or it is malformed, which
  // is no reason to refuse a request.
  std::string trace_id;
  // From gRPC's deadline.
  std::optional<Time> deadline;
};

// Fails with kInvalidArgument that names the key.
absl::StatusOr<RequestMetadata> ReadMetadata(const grpc::ServerContext& context);

// The id in a traceparent header, or "".
std::string TraceIdOf(std::string_view traceparent);

}  // namespace attnd

#endif  // ATTND_SERVER_REQUEST_METADATA_H_
