// ServerService.GetInfo.
#ifndef ATTND_SERVER_INFO_RPC_H_
#define ATTND_SERVER_INFO_RPC_H_

#include <grpcpp/completion_queue.h>

#include "attnd/v1/server.grpc.pb.h"
#include "core/runtime/clock.h"
#include "core/runtime/executor.h"
#include "server/call.h"

namespace attnd {

// What GetInfo works with. Outlives its calls.
struct InfoScope {
  CallScope call;
  v1::ServerService::AsyncService* rpcs = nullptr;
  const Executor* executor = nullptr;
  Time started;
  // All but what changes: uptime and speed.
  v1::GetInfoResponse info;
};

// Starts waiting for a client on `queue`.
void PostGetInfo(const InfoScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_INFO_RPC_H_
