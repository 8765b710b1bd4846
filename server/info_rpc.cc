#include "server/info_rpc.h"

namespace attnd {
namespace {

class GetInfoCall final : public UnaryCall<v1::GetInfoRequest, v1::GetInfoResponse> {
 public:
  GetInfoCall(const InfoScope& scope, grpc::ServerCompletionQueue* queue)
      : UnaryCall(scope.call), scope_(scope), queue_(queue) {
    scope_.rpcs->RequestGetInfo(&context_, &request_, &responder_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/attnd.v1.ServerService/GetInfo"; }
  void Renew() override { PostGetInfo(scope_, queue_); }

  void Serve() override {
    v1::GetInfoResponse response = scope_.info;
    response.set_worker_flops_per_second(scope_.executor->Stats().worker_flops_per_second);
    response.set_uptime_seconds(Seconds(std::chrono::steady_clock::now() - scope_.started));
    Answer(response);
  }

  const InfoScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
};

}  // namespace

void PostGetInfo(const InfoScope& scope, grpc::ServerCompletionQueue* queue) { new GetInfoCall(scope, queue); }

}  // namespace attnd
