// AttentionService.MultiHeadAttend.
#ifndef ATTND_SERVER_MULTIHEAD_RPC_H_
#define ATTND_SERVER_MULTIHEAD_RPC_H_

#include <grpcpp/completion_queue.h>

#include "server/tensor_call.h"

namespace attnd {

// Starts waiting for a client on `queue`.
void PostMultiHeadAttend(const TensorScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_MULTIHEAD_RPC_H_
