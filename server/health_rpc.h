// grpc.health.v1.Health on our completion queue: gRPC's own is a callback service, which
// brings two more polling threads into the process.
#ifndef ATTND_SERVER_HEALTH_RPC_H_
#define ATTND_SERVER_HEALTH_RPC_H_

#include <grpcpp/completion_queue.h>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/call.h"
#include "server/health.h"

namespace attnd {

// What the health methods work with. Outlives their calls.
struct HealthScope {
  CallScope call;
  grpc::health::v1::Health::AsyncService* rpcs = nullptr;
  Health* health = nullptr;
};

// Start waiting for a client on `queue`.
void PostHealthCheck(const HealthScope& scope, grpc::ServerCompletionQueue* queue);
void PostHealthWatch(const HealthScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_HEALTH_RPC_H_
