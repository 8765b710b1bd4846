#include "client/load/await_server.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include "absl/strings/str_format.h"
#include "client/channel.h"

namespace attnd::load {
namespace {

// How late `stop` may be seen.
constexpr std::chrono::milliseconds kSlice{50};

// False if it was stopped first.
bool WaitForAnswer(grpc::CompletionQueue* queue, const std::atomic<bool>& stop) {
  void* tag = nullptr;
  bool ok = false;
  while (queue->AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kSlice) == grpc::CompletionQueue::TIMEOUT) {
    if (stop) return false;
  }
  return true;
}

}  // namespace

absl::Status AwaitServer(const std::string& address, const std::shared_ptr<grpc::Channel>& channel,
                         std::chrono::milliseconds patience, const std::atomic<bool>& stop) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + patience);
  grpc::ByteBuffer reply;
  grpc::Status status;
  // Any answer will do, and there is nothing that the server would do for it.
  const auto rpc =
      stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::ByteBuffer(nullptr, 0), &queue);
  rpc->StartCall();
  rpc->Finish(&reply, &status, nullptr);
  const bool answered = WaitForAnswer(&queue, stop);
  if (!answered) context.TryCancel();
  queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) {
  }
  if (!answered) return absl::CancelledError("interrupted while connecting");
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) return NoServerAt(address, status.error_message());
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    const std::chrono::duration<double> seconds = patience;
    return NoServerAt(address, absl::StrFormat("no answer within %g s", seconds.count()));
  }
  return absl::OkStatus();
}

}  // namespace attnd::load
