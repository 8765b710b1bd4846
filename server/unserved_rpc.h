// Methods that this server does not serve, of the contract or of anybody's invention: all
// are answered with UNIMPLEMENTED and a message that names them.
#ifndef ATTND_SERVER_UNSERVED_RPC_H_
#define ATTND_SERVER_UNSERVED_RPC_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/async_generic_service.h>

#include "attnd/v1/weights.grpc.pb.h"
#include "server/call.h"

namespace attnd {

// One method is not generic because reflection lists a service by the methods that it
// finds registered.
using WeightsRpcs = v1::WeightsService::WithRawMethod_ListWeights<
    v1::WeightsService::WithGenericMethod_RegisterWeights<v1::WeightsService::WithGenericMethod_DeleteWeights<
        v1::WeightsService::WithGenericMethod_SetWeightsAlias<v1::WeightsService::Service>>>>;

// What these methods work with. Outlives their calls.
struct UnservedScope {
  CallScope call;
  grpc::AsyncGenericService* generic = nullptr;
  WeightsRpcs* weights = nullptr;
};

// Start waiting for a client on `queue`.
void PostUnserved(const UnservedScope& scope, grpc::ServerCompletionQueue* queue);
void PostListWeights(const UnservedScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_UNSERVED_RPC_H_
