#include "server/multihead_rpc.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "core/linear/multihead_job.h"
#include "core/linear/weight_store.h"
#include "proto/codec.h"

namespace attnd {
namespace {

class MultiHeadAttendCall final : public TensorCall {
 public:
  MultiHeadAttendCall(const TensorScope& scope, grpc::ServerCompletionQueue* queue) : TensorCall(scope, queue) {
    scope_.rpcs->RequestMultiHeadAttend(&context_, &request_, &responder_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/attnd.v1.AttentionService/MultiHeadAttend"; }
  void Renew() override { PostMultiHeadAttend(scope_, queue_); }
  absl::StatusOr<Work> Plan(codec::MessagePieces message, std::shared_ptr<const void> owner) override;
  absl::StatusOr<WeightsSource> FindWeights(codec::MultiHeadCall& call) const;
  void Finish(absl::StatusOr<MultiHeadResult>&& result, const JobTimings& timings);

  bool reply_with_values_ = false;
};

absl::StatusOr<WeightsSource> MultiHeadAttendCall::FindWeights(codec::MultiHeadCall& call) const {
  WeightsSource source;
  if (call.with_request) {
    source.with_request = *std::move(call.with_request);
    absl::StatusOr<WeightShapes> shapes = CheckWeights(source.with_request, "inline");
    if (!shapes.ok()) return shapes.status();
    source.shapes = *std::move(shapes);
    return source;
  }
  auto found = call.weights_alias.empty() ? scope_.weights->FindById(call.weights_id)
                                          : scope_.weights->FindByAlias(call.weights_alias);
  if (!found.ok()) return found.status();
  source.registered = *std::move(found);
  source.shapes = source.registered->shapes();
  return source;
}

absl::StatusOr<TensorCall::Work> MultiHeadAttendCall::Plan(codec::MessagePieces message,
                                                           std::shared_ptr<const void> owner) {
  absl::StatusOr<codec::MultiHeadCall> call = codec::DecodeMultiHeadRequest(message, std::move(owner));
  if (!call.ok()) return call.status();
  reply_with_values_ = call->reply_with_values;
  absl::StatusOr<WeightsSource> weights = FindWeights(*call);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<MultiHeadPlan> plan = PlanMultiHead(call->request, weights->shapes, scope_.limits);
  if (!plan.ok()) return plan.status();
  PlannedMultiHead planned{std::move(call->request), *std::move(plan)};
  Work work{nullptr, MultiHeadJobSpec(planned, *weights, scope_.engine), planned.plan.attention.dims};
  work.job = NewMultiHeadJob(std::move(planned), *std::move(weights), scope_.engine, scope_.pool,
                             [this](absl::StatusOr<MultiHeadResult>&& result, const JobTimings& timings) {
                               Finish(std::move(result), timings);
                             });
  return work;
}

void MultiHeadAttendCall::Finish(absl::StatusOr<MultiHeadResult>&& result, const JobTimings& timings) {
  if (!result.ok()) return Refuse(result.status(), timings);
  scope_.call.metrics->empty_rows->Increment(static_cast<double>(result->attention.rows.empty));
  scope_.call.metrics->non_finite_rows->Increment(static_cast<double>(result->attention.rows.non_finite));
  const int64_t bytes = BytesOf(*result);
  auto own = Own(*std::move(result), bytes);
  const auto chunks = codec::EncodeMultiHeadResponse(*own, reply_with_values_, scope_.numerics_id);
  Reply(chunks, std::move(own), timings);
}

}  // namespace

void PostMultiHeadAttend(const TensorScope& scope, grpc::ServerCompletionQueue* queue) {
  new MultiHeadAttendCall(scope, queue);
}

}  // namespace attnd
