#include "server/attend_rpc.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "core/attention/attention_job.h"
#include "proto/attend_memo.h"
#include "proto/codec.h"

namespace attnd {
namespace {

// The last request that a poller saw, and its plan: small requests come in numbers and are alike.
struct Recent {
  codec::AttendMemo memo;
  AttentionPlan plan;
  JobSpec spec;
};

class AttendCall final : public TensorCall {
 public:
  AttendCall(const TensorScope& scope, grpc::ServerCompletionQueue* queue) : TensorCall(scope, queue) {
    scope_.rpcs->RequestAttend(&context_, &request_, &responder_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/attnd.v1.AttentionService/Attend"; }
  void Renew() override { PostAttend(scope_, queue_); }
  absl::StatusOr<Work> Plan(codec::MessagePieces message, std::shared_ptr<const void> owner) override;
  Work NewWork(codec::AttendCall&& call, AttentionPlan&& plan, const JobSpec& spec);
  void Finish(absl::StatusOr<AttentionResult>&& result, const JobTimings& timings);

  bool reply_with_values_ = false;
};

absl::StatusOr<TensorCall::Work> AttendCall::Plan(codec::MessagePieces message, std::shared_ptr<const void> owner) {
  thread_local Recent recent;
  if (auto call = recent.memo.Recall(message, owner)) {
    return NewWork(*std::move(call), AttentionPlan(recent.plan), recent.spec);
  }
  absl::StatusOr<codec::AttendCall> call = codec::DecodeAttendRequest(message, std::move(owner));
  if (!call.ok()) return call.status();
  absl::StatusOr<AttentionPlan> plan = PlanAttention(call->request, scope_.limits);
  if (!plan.ok()) return plan.status();
  const JobSpec spec = AttentionJobSpec(*plan, scope_.engine);
  if (recent.memo.Remember(message, *call)) {
    recent.plan = *plan;
    recent.spec = spec;
  }
  return NewWork(*std::move(call), *std::move(plan), spec);
}

TensorCall::Work AttendCall::NewWork(codec::AttendCall&& call, AttentionPlan&& plan, const JobSpec& spec) {
  reply_with_values_ = call.reply_with_values;
  const Dims dims = plan.dims;
  auto job = NewAttentionJob(std::move(call.request), std::move(plan), scope_.engine, scope_.pool,
                             [this](absl::StatusOr<AttentionResult>&& result, const JobTimings& timings) {
                               Finish(std::move(result), timings);
                             });
  return {std::move(job), spec, dims};
}

void AttendCall::Finish(absl::StatusOr<AttentionResult>&& result, const JobTimings& timings) {
  if (!result.ok()) return Refuse(result.status(), timings);
  scope_.call.metrics->empty_rows->Increment(static_cast<double>(result->rows.empty));
  scope_.call.metrics->non_finite_rows->Increment(static_cast<double>(result->rows.non_finite));
  const int64_t bytes = BytesOf(*result);
  auto owner = Own(*std::move(result), bytes);
  const auto chunks = codec::EncodeAttendResponse(*owner, reply_with_values_, scope_.numerics_id);
  Reply(chunks, std::move(owner), timings);
}

}  // namespace

void PostAttend(const TensorScope& scope, grpc::ServerCompletionQueue* queue) { new AttendCall(scope, queue); }

}  // namespace attnd
