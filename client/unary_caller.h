// Calls on bytes with one reply: one channel, deadlines, retries, and statuses in the words that
// client.h promises. Knows no message types.
#ifndef ATTND_CLIENT_UNARY_CALLER_H_
#define ATTND_CLIENT_UNARY_CALLER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "core/runtime/clock.h"

namespace attnd {

// The messages of an upload, one by one; nothing after the last.
using NextMessage = std::function<std::optional<absl::StatusOr<grpc::ByteBuffer>>()>;

// Thread-safe.
class UnaryCaller {
 public:
  // `options` are as Client::Connect accepts them.
  explicit UnaryCaller(const ClientOptions& options);

  // Calls `method` ("/package.Service/Method") up to `max_attempts` times.
  absl::StatusOr<grpc::ByteBuffer> Call(const std::string& method, const grpc::ByteBuffer& request,
                                        const CallOptions& call, int max_attempts);

  // The same for a method that takes a stream of messages. `begin` is called for every
  // attempt. Messages are asked for as the server takes them; none once it has answered.
  absl::StatusOr<grpc::ByteBuffer> Upload(const std::string& method, const std::function<NextMessage()>& begin,
                                          const CallOptions& call, int max_attempts);

 private:
  // What one attempt came to.
  struct Attempt {
    grpc::Status status;
    grpc::ByteBuffer reply;
    // The trailer `grpc-retry-pushback-ms` as it came.
    std::optional<std::string> pushback;
  };

  using Once = std::function<Attempt(grpc::ClientContext&, grpc::CompletionQueue&)>;

  absl::StatusOr<grpc::ByteBuffer> Retry(const CallOptions& call, int max_attempts, const Once& once);
  [[nodiscard]] static Attempt TryOnce(const CallOptions& call, const std::optional<Time>& deadline, const Once& once);
  static Attempt UploadOnce(grpc::GenericClientAsyncReaderWriter& rpc, const NextMessage& next,
                            grpc::CompletionQueue& queue);
  // How long to pause before attempt number `next` (2 is the first retry); nothing if
  // there must be none.
  [[nodiscard]] std::optional<Duration> PauseBefore(int next, const Attempt& last) const;
  [[nodiscard]] absl::Status ToStatus(const grpc::Status& status, std::chrono::milliseconds timeout) const;

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  // Uploads have a channel of their own, which keeps nothing for sending it again.
  const std::shared_ptr<grpc::Channel> upload_channel_;
  grpc::GenericStub upload_stub_;
};

}  // namespace attnd

#endif  // ATTND_CLIENT_UNARY_CALLER_H_
