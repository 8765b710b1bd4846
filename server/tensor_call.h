// Calls that compute on tensors: from bytes to a job of the executor and back to bytes. What
// they have in common; attend_rpc and merge_rpc say what is theirs.
#ifndef ATTND_SERVER_TENSOR_CALL_H_
#define ATTND_SERVER_TENSOR_CALL_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "attnd/v1/attention.grpc.pb.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/linear/weight_store.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"
#include "proto/codec.h"
#include "server/call.h"
#include "server/logging.h"
#include "server/request_metadata.h"

namespace attnd {

// The service as this server registers it: methods that take and give raw bytes; the rest
// goes where unknown methods go.
using AttentionRpcs = v1::AttentionService::WithRawMethod_Attend<v1::AttentionService::WithRawMethod_Merge<
    v1::AttentionService::WithRawMethod_MultiHeadAttend<v1::AttentionService::WithGenericMethod_AttendStream<
        v1::AttentionService::WithGenericMethod_MultiHeadAttendStream<v1::AttentionService::Service>>>>>;

// What these calls work with. Outlives them.
struct TensorScope {
  CallScope call;
  AttentionRpcs* rpcs = nullptr;
  Executor* executor = nullptr;
  BufferPool* pool = nullptr;
  WeightStore* weights = nullptr;
  EngineKind engine = EngineKind::kOnednn;
  std::string numerics_id;
  AttentionLimits limits;
  // Bytes of responses that gRPC has not let go of. Shared with the slices, which may
  // outlive the server.
  std::shared_ptr<std::atomic<int64_t>> unsent_bytes = std::make_shared<std::atomic<int64_t>>(0);
  // Requests that take longer are logged; 0 for none.
  std::chrono::milliseconds slow_request{0};
};

// Bytes that are counted for as long as this lives.
class UnsentBytes {
 public:
  UnsentBytes(std::shared_ptr<std::atomic<int64_t>> count, int64_t bytes) : count_(std::move(count)), bytes_(bytes) {
    count_->fetch_add(bytes_);
  }
  ~UnsentBytes() {
    if (count_ != nullptr) count_->fetch_sub(bytes_);
  }
  UnsentBytes(UnsentBytes&&) = default;
  UnsentBytes(const UnsentBytes&) = delete;
  UnsentBytes& operator=(const UnsentBytes&) = delete;
  UnsentBytes& operator=(UnsentBytes&&) = delete;

 private:
  std::shared_ptr<std::atomic<int64_t>> count_;
  int64_t bytes_;
};

template <typename Result>
struct Unsent {
  Unsent(UnsentBytes&& counted, Result&& held) : bytes(std::move(counted)), result(std::move(held)) {}
  // Goes last: what is freed is no longer counted.
  UnsentBytes bytes;
  Result result;
};

// From Serve to Reply or Refuse, whichever comes first. Plan is called on the poller, Reply and
// Refuse once, on any thread; as with Answer, threads other than the poller must not touch the call
// afterwards.
class TensorCall : public UnaryCall<grpc::ByteBuffer, grpc::ByteBuffer> {
 protected:
  // A request that passed every check.
  struct Work {
    std::shared_ptr<Job> job;
    JobSpec spec;
    // For the log.
    Dims dims;
  };

  TensorCall(const TensorScope& scope, grpc::ServerCompletionQueue* queue)
      : UnaryCall(scope.call), scope_(scope), queue_(queue) {}

  // Makes a job of the message, which `owner` keeps alive. The job's end must lead to
  // Reply or Refuse, once.
  virtual absl::StatusOr<Work> Plan(codec::MessagePieces message, std::shared_ptr<const void> owner) = 0;

  // For a job's callback. `result` must have the bytes that `chunks` borrow.
  void Reply(const std::vector<codec::Chunk>& chunks, std::shared_ptr<const void> result, const JobTimings& timings);
  void Refuse(const absl::Status& error, const JobTimings& timings = {});

  // `result`, counted as unsent for as long as its memory is held.
  template <typename Result>
  std::shared_ptr<const Result> Own(Result result, int64_t bytes) {
    auto unsent = std::make_shared<Unsent<Result>>(UnsentBytes(scope_.unsent_bytes, bytes), std::move(result));
    const Result* held = &unsent->result;
    return {std::move(unsent), held};
  }

  const TensorScope& scope_;
  grpc::ServerCompletionQueue* const queue_;

 private:
  void Serve() final;
  void OnGone() final;
  void OnSent(bool ok) final;
  void LogAccess() const final;

  absl::Status Submit();
  void LogRequest(LogLevel level, std::string_view message) const;

  // For cancelling; until the call goes, so that the executor cannot mistake another for it.
  std::shared_ptr<Job> job_;
  RequestMetadata metadata_;
  // For the log.
  Dims dims_;
  size_t request_bytes_ = 0;
  size_t response_bytes_ = 0;
  JobTimings timings_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_TENSOR_CALL_H_
