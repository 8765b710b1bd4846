#include "server/weights_rpc.h"

#include <string_view>

#include "absl/status/statusor.h"
#include "core/errors.h"
#include "proto/codec_weights.h"

namespace attnd {
namespace {

// One of the small methods: answered at once, on the poller.
template <typename Request, typename Response>
struct StoreMethod {
  std::string_view name;
  void (WeightsRpcs::*request)(grpc::ServerContext*, Request*, grpc::ServerAsyncResponseWriter<Response>*,
                               grpc::CompletionQueue*, grpc::ServerCompletionQueue*, void*);
  absl::StatusOr<Response> (*serve)(WeightStore& weights, const Request& request);
};

template <typename Request, typename Response>
class StoreCall final : public UnaryCall<Request, Response> {
 public:
  using Method = StoreMethod<Request, Response>;

  StoreCall(const Method& method, const WeightsScope& scope, grpc::ServerCompletionQueue* queue)
      : UnaryCall<Request, Response>(scope.call), method_(method), scope_(scope), queue_(queue) {
    (scope_.rpcs->*method_.request)(&this->context_, &this->request_, &this->responder_, queue_, queue_,
                                    this->AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return method_.name; }
  void Renew() override { new StoreCall(method_, scope_, queue_); }
  void Serve() override {
    const absl::StatusOr<Response> response = method_.serve(*scope_.weights, this->request_);
    response.ok() ? this->Answer(*response) : this->Answer(response.status());
  }

  const Method& method_;
  const WeightsScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
};

absl::StatusOr<v1::ListWeightsResponse> List(WeightStore& weights, const v1::ListWeightsRequest& /*request*/) {
  v1::ListWeightsResponse response;
  for (const WeightsInfo& info : weights.List()) *response.add_weights() = codec::ToWire(info);
  const WeightStoreStats stats = weights.Stats();
  response.set_resident_bytes(stats.resident_bytes);
  response.set_budget_bytes(stats.budget_bytes);
  return response;
}

absl::StatusOr<v1::DescribeWeightsResponse> Describe(WeightStore& weights, const v1::DescribeWeightsRequest& request) {
  const auto info = weights.Describe(request.weights());
  if (!info.ok()) return info.status();
  v1::DescribeWeightsResponse response;
  *response.mutable_info() = codec::ToWire(*info);
  return response;
}

absl::StatusOr<v1::DeleteWeightsResponse> Delete(WeightStore& weights, const v1::DeleteWeightsRequest& request) {
  const auto id = weights.Delete(request.weights());
  if (!id.ok()) return id.status();
  v1::DeleteWeightsResponse response;
  response.set_weights_id(*id);
  return response;
}

absl::StatusOr<v1::SetWeightsAliasResponse> SetAlias(WeightStore& weights, const v1::SetWeightsAliasRequest& request) {
  const auto id = weights.SetAlias(request.weights(), request.alias());
  if (!id.ok()) return id.status();
  v1::SetWeightsAliasResponse response;
  response.set_weights_id(*id);
  return response;
}

constexpr StoreMethod<v1::ListWeightsRequest, v1::ListWeightsResponse> kList = {
    "/attnd.v1.WeightsService/ListWeights", &WeightsRpcs::RequestListWeights, &List};
constexpr StoreMethod<v1::DescribeWeightsRequest, v1::DescribeWeightsResponse> kDescribe = {
    "/attnd.v1.WeightsService/DescribeWeights", &WeightsRpcs::RequestDescribeWeights, &Describe};
constexpr StoreMethod<v1::DeleteWeightsRequest, v1::DeleteWeightsResponse> kDelete = {
    "/attnd.v1.WeightsService/DeleteWeights", &WeightsRpcs::RequestDeleteWeights, &Delete};
constexpr StoreMethod<v1::SetWeightsAliasRequest, v1::SetWeightsAliasResponse> kSetAlias = {
    "/attnd.v1.WeightsService/SetWeightsAlias", &WeightsRpcs::RequestSetWeightsAlias, &SetAlias};

template <typename Request, typename Response>
void Post(const StoreMethod<Request, Response>& method, const WeightsScope& scope, grpc::ServerCompletionQueue* queue) {
  new StoreCall<Request, Response>(method, scope, queue);
}

}  // namespace

void PostWeightsCalls(const WeightsScope& scope, grpc::ServerCompletionQueue* queue) {
  PostRegisterWeights(scope, queue);
  Post(kList, scope, queue);
  Post(kDescribe, scope, queue);
  Post(kDelete, scope, queue);
  Post(kSetAlias, scope, queue);
}

}  // namespace attnd
