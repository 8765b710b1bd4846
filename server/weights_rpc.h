// WeightsService.
#ifndef ATTND_SERVER_WEIGHTS_RPC_H_
#define ATTND_SERVER_WEIGHTS_RPC_H_

#include <grpcpp/completion_queue.h>

#include "attnd/v1/weights.grpc.pb.h"
#include "core/linear/weight_store.h"
#include "server/call.h"
#include "server/uploads.h"

namespace attnd {

// The service as this server registers it: chunks are taken as raw bytes.
using WeightsRpcs = v1::WeightsService::WithRawMethod_RegisterWeights<v1::WeightsService::WithAsyncMethod_ListWeights<
    v1::WeightsService::WithAsyncMethod_DescribeWeights<v1::WeightsService::WithAsyncMethod_DeleteWeights<
        v1::WeightsService::WithAsyncMethod_SetWeightsAlias<v1::WeightsService::Service>>>>>;

// What these calls work with. Outlives them.
struct WeightsScope {
  CallScope call;
  WeightsRpcs* rpcs = nullptr;
  WeightStore* weights = nullptr;
  Uploads* uploads = nullptr;
};

// Start waiting for a client on `queue`: one call of each method.
void PostWeightsCalls(const WeightsScope& scope, grpc::ServerCompletionQueue* queue);

// RegisterWeights alone.
//
// The header is checked and answered on the poller, since it is small: weights that are
// there already cost no more than that. Nothing is allocated before the header is found
// right, its weights can fit and there is room among the uploads. All else (chunks, hashing,
// packing) is done by Uploads' thread; the next message is read when the one before has
// been worked on.
void PostRegisterWeights(const WeightsScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_WEIGHTS_RPC_H_
