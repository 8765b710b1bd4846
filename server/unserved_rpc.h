// Methods that this server does not serve, of the contract or of anybody's invention: all
// are answered with UNIMPLEMENTED and a message that names them.
#ifndef ATTND_SERVER_UNSERVED_RPC_H_
#define ATTND_SERVER_UNSERVED_RPC_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/async_generic_service.h>

#include "server/call.h"

namespace attnd {

// What these methods work with. Outlives their calls.
struct UnservedScope {
  CallScope call;
  grpc::AsyncGenericService* generic = nullptr;
};

// Starts waiting for a client on `queue`.
void PostUnserved(const UnservedScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_UNSERVED_RPC_H_
