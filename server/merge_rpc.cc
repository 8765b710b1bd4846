#include "server/merge_rpc.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "core/attention/merge.h"
#include "proto/codec.h"

namespace attnd {
namespace {

class MergeCall final : public TensorCall {
 public:
  MergeCall(const TensorScope& scope, grpc::ServerCompletionQueue* queue) : TensorCall(scope, queue) {
    scope_.rpcs->RequestMerge(&context_, &request_, &responder_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/attnd.v1.AttentionService/Merge"; }
  void Renew() override { PostMerge(scope_, queue_); }
  absl::StatusOr<Work> Plan(codec::MessagePieces message, std::shared_ptr<const void> owner) override;
  void Finish(absl::StatusOr<MergeResult>&& result, const JobTimings& timings);

  bool reply_with_values_ = false;
};

absl::StatusOr<TensorCall::Work> MergeCall::Plan(codec::MessagePieces message, std::shared_ptr<const void> owner) {
  absl::StatusOr<codec::MergeCall> call = codec::DecodeMergeRequest(message, std::move(owner));
  if (!call.ok()) return call.status();
  reply_with_values_ = call->reply_with_values;
  const absl::StatusOr<MergePlan> plan = PlanMerge(call->inputs, scope_.limits);
  if (!plan.ok()) return plan.status();
  Work work{nullptr, MergeJobSpec(*plan), {}};
  work.dims = {.batch = plan->batch, .heads = plan->heads, .q_len = plan->q_len, .value_dim = plan->value_dim};
  work.job = NewMergeJob(
      std::move(call->inputs), *plan, scope_.pool,
      [this](absl::StatusOr<MergeResult>&& result, const JobTimings& timings) { Finish(std::move(result), timings); });
  return work;
}

void MergeCall::Finish(absl::StatusOr<MergeResult>&& result, const JobTimings& timings) {
  if (!result.ok()) return Refuse(result.status(), timings);
  const auto bytes = static_cast<int64_t>(result->output.data.size() + result->lse.data.size());
  auto owner = Own(*std::move(result), bytes);
  const auto chunks = codec::EncodeMergeResponse(*owner, reply_with_values_);
  Reply(chunks, std::move(owner), timings);
}

}  // namespace

void PostMerge(const TensorScope& scope, grpc::ServerCompletionQueue* queue) { new MergeCall(scope, queue); }

}  // namespace attnd
