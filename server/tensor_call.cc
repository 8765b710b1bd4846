#include "server/tensor_call.h"

#include <utility>

#include "server/byte_buffer.h"
#include "server/status.h"

namespace attnd {
namespace {

constexpr std::chrono::milliseconds kDeadlineSlack{20};

}  // namespace

// A request's way through the server. On the poller:
void TensorCall::Serve() {
  const absl::Status status = Submit();
  if (!status.ok()) {
    job_.reset();  // and with it the message
    Refuse(status);
  }
  scope_.call.metrics->request_bytes->Observe(static_cast<double>(request_bytes_));
}

absl::Status TensorCall::Submit() {
  request_bytes_ = request_.Length();
  auto message = std::make_shared<grpc::ByteBuffer>();
  message->Swap(&request_);

  absl::StatusOr<RequestMetadata> metadata = ReadMetadata(context_);
  if (!metadata.ok()) return metadata.status();
  metadata_ = *std::move(metadata);

  absl::StatusOr<Work> work = Plan(PiecesOf(*message), message);
  if (!work.ok()) return work.status();
  dims_ = work->dims;
  job_ = std::move(work->job);
  work->spec.priority = metadata_.priority;
  work->spec.deadline = metadata_.deadline;
  return scope_.executor->Submit(job_, work->spec);
}

// On the worker that finished the last tile, or wherever the job ended:
void TensorCall::Reply(const std::vector<codec::Chunk>& chunks, std::shared_ptr<const void> result,
                       const JobTimings& timings) {
  timings_ = timings;
  const grpc::ByteBuffer response = ToByteBuffer(chunks, result);
  response_bytes_ = response.Length();
  result.reset();
  Answer(response);
}

void TensorCall::Refuse(const absl::Status& error, const JobTimings& timings) {
  timings_ = timings;
  // gRPC reports a deadline that has passed as it does a client that went away, and the
  // client, whose clock started earlier, may be the first to notice.
  const bool late =
      metadata_.deadline.has_value() && *metadata_.deadline - std::chrono::steady_clock::now() <= kDeadlineSlack;
  Answer(absl::IsCancelled(error) && late ? absl::DeadlineExceededError("the deadline passed") : error);
}

// Back on the poller:
void TensorCall::OnGone() {
  if (job_ != nullptr) scope_.executor->Cancel(job_.get());
}

void TensorCall::OnSent(bool ok) {
  if (code() != grpc::StatusCode::OK) return;
  const auto sent = std::chrono::steady_clock::now();
  const Metrics& metrics = *scope_.call.metrics;
  metrics.queue_seconds->Observe(Seconds(timings_.queue));
  metrics.gather_seconds->Observe(Seconds(timings_.prepare));
  metrics.compute_seconds->Observe(Seconds(timings_.compute));
  metrics.response_bytes->Observe(static_cast<double>(response_bytes_));
  if (ok) metrics.send_seconds->Observe(Seconds(sent - closed()));
}

void TensorCall::LogAccess() const {
  const bool slow =
      scope_.slow_request.count() > 0 && std::chrono::steady_clock::now() - arrived() > scope_.slow_request;
  slow ? LogRequest(LogLevel::kWarning, "slow request") : LogRequest(LogLevel::kDebug, "request");
}

void TensorCall::LogRequest(LogLevel level, std::string_view message) const {
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

}  // namespace attnd
