// AttentionService.Attend: from bytes to a job of the executor and back to bytes.
#ifndef ATTND_SERVER_ATTEND_RPC_H_
#define ATTND_SERVER_ATTEND_RPC_H_

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "attnd/v1/attention.grpc.pb.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"
#include "server/call.h"

namespace attnd {

// The service as this server registers it: Attend takes and gives raw bytes, the rest goes
// where unknown methods go.
using AttentionRpcs = v1::AttentionService::WithRawMethod_Attend<
    v1::AttentionService::WithGenericMethod_AttendStream<v1::AttentionService::WithGenericMethod_MultiHeadAttend<
        v1::AttentionService::WithGenericMethod_MultiHeadAttendStream<
            v1::AttentionService::WithGenericMethod_Merge<v1::AttentionService::Service>>>>>;

// What Attend works with. Outlives its calls.
struct AttendScope {
  CallScope call;
  AttentionRpcs* rpcs = nullptr;
  Executor* executor = nullptr;
  BufferPool* pool = nullptr;
  EngineKind engine = EngineKind::kOnednn;
  std::string numerics_id;
  AttentionLimits limits;
  // Bytes of responses that gRPC has not let go of. Shared with the slices, which may
  // outlive the server.
  std::shared_ptr<std::atomic<int64_t>> unsent_bytes = std::make_shared<std::atomic<int64_t>>(0);
  // Requests that take longer are logged; 0 for none.
  std::chrono::milliseconds slow_request{0};
};

// Starts waiting for a client on `queue`.
void PostAttend(const AttendScope& scope, grpc::ServerCompletionQueue* queue);

}  // namespace attnd

#endif  // ATTND_SERVER_ATTEND_RPC_H_
