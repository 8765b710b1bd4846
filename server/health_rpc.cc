#include "server/health_rpc.h"

#include <grpcpp/support/async_stream.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace attnd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

HealthCheckResponse::ServingStatus ToProto(bool serving) {
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

class CheckCall final : public UnaryCall<HealthCheckRequest, HealthCheckResponse> {
 public:
  CheckCall(const HealthScope& scope, grpc::ServerCompletionQueue* queue)
      : UnaryCall(scope.call), scope_(scope), queue_(queue) {
    scope_.rpcs->RequestCheck(&context_, &request_, &responder_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/grpc.health.v1.Health/Check"; }
  void Renew() override { PostHealthCheck(scope_, queue_); }

  void Serve() override {
    if (!Health::Knows(request_.service())) {
      return Answer(absl::NotFoundError(
          absl::StrCat("service: there is no ", Printable(request_.service(), 100), "; the empty name is the server")));
    }
    HealthCheckResponse response;
    response.set_status(ToProto(scope_.health->serving()));
    Answer(response);
  }

  const HealthScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
};

// One write at a time; what changes meanwhile is sent afterwards, the latest only.
class WatchCall final : public Call, public HealthWatcher {
 public:
  WatchCall(const HealthScope& scope, grpc::ServerCompletionQueue* queue)
      : Call(scope.call), scope_(scope), queue_(queue), writer_(&context_) {
    scope_.rpcs->RequestWatch(&context_, &request_, &writer_, queue_, queue_, AcceptedTag());
  }

  void Notify(bool serving, bool ended) override ATTND_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    latest_ = known_ ? ToProto(serving) : HealthCheckResponse::SERVICE_UNKNOWN;
    if (ended) end_ = absl::UnavailableError("the server is shutting down");
    Advance();
  }

 private:
  [[nodiscard]] std::string_view method() const override { return "/grpc.health.v1.Health/Watch"; }
  void Renew() override { PostHealthWatch(scope_, queue_); }

  void Serve() override {
    known_ = Health::Knows(request_.service());
    scope_.health->Add(this);
  }

  void OnGone() override ATTND_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    end_ = absl::CancelledError("the client cancelled");
    Advance();
  }

  // Comes before the call goes, whatever happened.
  void OnSent(bool /*ok*/) override { scope_.health->Remove(this); }

  void OnWritten(bool ok) ATTND_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    writing_ = false;
    if (!ok) end_ = absl::CancelledError("the client is gone");
    Advance();
  }

  void Advance() ATTND_REQUIRES(mutex_) {
    if (writing_ || finished_) return;
    if (latest_ != sent_ && !(end_.has_value() && absl::IsCancelled(*end_))) {
      sent_ = latest_;
      writing_ = true;
      response_.set_status(*latest_);
      writer_.Write(response_, HandOver(&written_tag_));
    } else if (end_.has_value()) {
      finished_ = true;
      const grpc::Status status = Close(*end_);
      writer_.Finish(status, FinishedTag());
    }
  }

  const HealthScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
  HealthCheckRequest request_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_;
  MemberTag<WatchCall, &WatchCall::OnWritten> written_tag_{this};
  bool known_ = false;

  Mutex mutex_;
  std::optional<HealthCheckResponse::ServingStatus> latest_ ATTND_GUARDED_BY(mutex_);
  std::optional<HealthCheckResponse::ServingStatus> sent_ ATTND_GUARDED_BY(mutex_);
  HealthCheckResponse response_ ATTND_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ATTND_GUARDED_BY(mutex_);
  bool writing_ ATTND_GUARDED_BY(mutex_) = false;
  bool finished_ ATTND_GUARDED_BY(mutex_) = false;
};

}  // namespace

void PostHealthCheck(const HealthScope& scope, grpc::ServerCompletionQueue* queue) { new CheckCall(scope, queue); }
void PostHealthWatch(const HealthScope& scope, grpc::ServerCompletionQueue* queue) { new WatchCall(scope, queue); }

}  // namespace attnd
