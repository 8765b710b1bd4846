#include "server/unserved_rpc.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace attnd {
namespace {

absl::Status Unserved(std::string_view method) {
  return absl::UnimplementedError(absl::StrCat(Printable(method, 200), " is not served by this version of attnd"));
}

class UnservedCall final : public Call {
 public:
  UnservedCall(const UnservedScope& scope, grpc::ServerCompletionQueue* queue)
      : Call(scope.call), scope_(scope), queue_(queue), stream_(&context_) {
    scope_.generic->RequestCall(&context_, &stream_, queue_, queue_, AcceptedTag());
  }

 private:
  [[nodiscard]] std::string_view method() const override { return context_.method(); }
  void Renew() override { PostUnserved(scope_, queue_); }

  // Whatever the client streams is not read.
  void Serve() override {
    const grpc::Status status = Close(Unserved(method()));
    stream_.Finish(status, FinishedTag());
  }

  const UnservedScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::GenericServerAsyncReaderWriter stream_;
};

}  // namespace

void PostUnserved(const UnservedScope& scope, grpc::ServerCompletionQueue* queue) { new UnservedCall(scope, queue); }

}  // namespace attnd
