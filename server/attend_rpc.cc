#include "server/attend_rpc.h"

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/attention_job.h"
#include "proto/codec.h"
#include "server/byte_buffer.h"
#include "server/logging.h"
#include "server/request_metadata.h"
#include "server/status.h"

namespace attnd {
namespace {

constexpr std::chrono::milliseconds kDeadlineSlack{20};

// The result, counted in `unsent` for as long as its memory is held.
std::shared_ptr<const AttentionResult> Own(AttentionResult result, std::shared_ptr<std::atomic<int64_t>> unsent) {
  const auto bytes = static_cast<int64_t>(result.output.size() + result.lse.size() + result.weights.size());
  unsent->fetch_add(bytes);
  return {new AttentionResult(std::move(result)), [bytes, unsent = std::move(unsent)](const AttentionResult* held) {
            delete held;
            unsent->fetch_sub(bytes);
          }};
}

class AttendCall final : public UnaryCall<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  AttendCall(const AttendScope& scope, grpc::ServerCompletionQueue* queue)
      : UnaryCall(scope.call), scope_(scope), queue_(queue) {
    scope_.rpcs->RequestAttend(&context_, &request_, &responder_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/attnd.v1.AttentionService/Attend"; }
  void Renew() override { PostAttend(scope_, queue_); }
  void Serve() override;
  void OnGone() override;
  void OnSent(bool ok) override;

  absl::Status Submit();
  void Reply(absl::StatusOr<AttentionResult> result, const JobTimings& timings);
  void Refuse(const absl::Status& error);
  void Observe(const AttentionResult& result, const grpc::ByteBuffer& response) const;
  void LogAccess() const override;
  void LogRequest(LogLevel level, std::string_view message) const;

  const AttendScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
  // For cancelling; until the call goes, so that the executor cannot mistake another for it.
  std::shared_ptr<Job> job_;
  RequestMetadata metadata_;
  bool reply_with_values_ = false;
  // For the log.
  Dims dims_;
  size_t request_bytes_ = 0;
  size_t response_bytes_ = 0;
  JobTimings timings_;
};

// A request's way through the server. On the poller:
void AttendCall::Serve() {
  const absl::Status status = Submit();
  if (status.ok()) return;
  job_.reset();  // and with it the message
  Refuse(status);
}

absl::Status AttendCall::Submit() {
  request_bytes_ = request_.Length();
  scope_.call.metrics->request_bytes->Observe(static_cast<double>(request_bytes_));
  auto message = std::make_shared<grpc::ByteBuffer>();
  message->Swap(&request_);

  absl::StatusOr<RequestMetadata> metadata = ReadMetadata(context_);
  if (!metadata.ok()) return metadata.status();
  metadata_ = *std::move(metadata);

  absl::StatusOr<codec::AttendCall> call = codec::DecodeAttendRequest(PiecesOf(*message), message);
  if (!call.ok()) return call.status();
  reply_with_values_ = call->reply_with_values;

  absl::StatusOr<AttentionPlan> plan = PlanAttention(call->request, scope_.limits);
  if (!plan.ok()) return plan.status();
  dims_ = plan->dims;

  JobSpec spec = AttentionJobSpec(*plan);
  spec.priority = metadata_.priority;
  spec.deadline = metadata_.deadline;
  job_ = NewAttentionJob(
      std::move(call->request), *std::move(plan), scope_.engine, scope_.pool,
      [this](absl::StatusOr<AttentionResult> result, const JobTimings& timings) { Reply(std::move(result), timings); });
  return scope_.executor->Submit(job_, spec);
}

// On the worker that finished the last tile, or wherever the job ended:
void AttendCall::Reply(absl::StatusOr<AttentionResult> result, const JobTimings& timings) {
  timings_ = timings;
  if (!result.ok()) return Refuse(result.status());
  const auto owner = Own(*std::move(result), scope_.unsent_bytes);
  const grpc::ByteBuffer response =
      ToByteBuffer(codec::EncodeAttendResponse(*owner, reply_with_values_, scope_.numerics_id), owner);
  response_bytes_ = response.Length();
  Observe(*owner, response);
  Answer(response);
}

void AttendCall::Refuse(const absl::Status& error) {
  // gRPC reports a deadline that has passed as it does a client that went away, and the
  // client, whose clock started earlier, may be the first to notice.
  const bool late =
      metadata_.deadline.has_value() && *metadata_.deadline - std::chrono::steady_clock::now() <= kDeadlineSlack;
  Answer(absl::IsCancelled(error) && late ? absl::DeadlineExceededError("the deadline passed") : error);
}

// Back on the poller:
void AttendCall::OnGone() {
  if (job_ != nullptr) scope_.executor->Cancel(job_.get());
}

void AttendCall::OnSent(bool ok) {
  if (!ok || code() != grpc::StatusCode::OK) return;
  scope_.call.metrics->send_seconds->Observe(Seconds(std::chrono::steady_clock::now() - closed()));
}

void AttendCall::LogAccess() const {
  const bool slow =
      scope_.slow_request.count() > 0 && std::chrono::steady_clock::now() - arrived() > scope_.slow_request;
  slow ? LogRequest(LogLevel::kWarning, "slow request") : LogRequest(LogLevel::kDebug, "request");
}

void AttendCall::Observe(const AttentionResult& result, const grpc::ByteBuffer& response) const {
  const Metrics& metrics = *scope_.call.metrics;
  metrics.queue_seconds->Observe(Seconds(timings_.queue));
  metrics.gather_seconds->Observe(Seconds(timings_.prepare));
  metrics.compute_seconds->Observe(Seconds(timings_.compute));
  metrics.response_bytes->Observe(static_cast<double>(response.Length()));
  metrics.empty_rows->Increment(static_cast<double>(result.rows.empty));
  metrics.non_finite_rows->Increment(static_cast<double>(result.rows.non_finite));
}

void AttendCall::LogRequest(LogLevel level, std::string_view message) const {
  if (!LogEnabled(level)) return;
  const auto now = std::chrono::steady_clock::now();
  Log(level, message,
      {{"method", std::string(method())},
       {"code", CodeName(code())},
       {"peer", context_.peer()},
       {"batch", dims_.batch},
       {"heads", dims_.heads},
       {"kv_heads", dims_.kv_heads},
       {"q_len", dims_.q_len},
       {"kv_len", dims_.kv_len},
       {"head_dim", dims_.head_dim},
       {"value_dim", dims_.value_dim},
       {"request_bytes", static_cast<int64_t>(request_bytes_)},
       {"response_bytes", static_cast<int64_t>(response_bytes_)},
       {"seconds", Seconds(now - arrived())},
       {"queue_seconds", Seconds(timings_.queue)},
       {"gather_seconds", Seconds(timings_.prepare)},
       {"compute_seconds", Seconds(timings_.compute)},
       {"send_seconds", Seconds(now - closed())},
       {"priority", int64_t{metadata_.priority}},
       {"tenant", metadata_.tenant},
       {"trace_id", metadata_.trace_id}});
}

}  // namespace

void PostAttend(const AttendScope& scope, grpc::ServerCompletionQueue* queue) { new AttendCall(scope, queue); }

}  // namespace attnd
