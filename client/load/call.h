// One call at a time, on a completion queue.
#ifndef ATTND_CLIENT_LOAD_CALL_H_
#define ATTND_CLIENT_LOAD_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "client/load/recorder.h"
#include "client/load/work.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// A connection to a server.
struct Endpoint {
  Endpoint(std::string server_address, std::shared_ptr<grpc::Channel> its_channel)
      : address(std::move(server_address)), channel(std::move(its_channel)), stub(channel) {}

  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  grpc::GenericStub stub;
};

// A call with its attempts and the pauses between them. Each Send and each Pause gives one
// event on the queue, whose tag is the Call; nothing else may be done to it in between but
// Cancel. Used again and again. Thread-compatible.
class Call {
 public:
  // What is known of it; `done`, `status` and what follows from the answer are set by Finished.
  CallRecord record;

  // Makes ready to send `work`, so that Send takes less time. `endpoint` and `work` must
  // outlive the call; with a `deadline` the attempt fails at that time.
  void Prepare(Endpoint* endpoint, const Work& work, std::optional<Time> deadline, grpc::CompletionQueue* queue);
  // Counts itself in `sends` before the event can come. Reading that first on the event orders
  // what two threads do to a call, as gRPC's queue does, in a way that race detectors see.
  void Send(Time now, std::atomic<int64_t>* sends);
  // Gives an event after the pause.
  void Pause(Duration pause, grpc::CompletionQueue* queue);
  // Lets the event come at once, if there is one to come.
  void Cancel();

  // Whether the event is, or will be, that of Pause.
  [[nodiscard]] bool pausing() const { return pausing_; }
  [[nodiscard]] int attempts() const { return attempts_; }

  // To be called on the event of Send.
  void Finished(Time now);
  [[nodiscard]] const grpc::ByteBuffer& reply() const { return reply_; }
  // The server's hint when to come back (`grpc-retry-pushback-ms`); negative: not at all.
  [[nodiscard]] std::optional<std::chrono::milliseconds> Pushback() const;
  // The status's message, in words that tell of the server where gRPC's do not.
  [[nodiscard]] std::string Message() const;

  // For a new call.
  void Reset();

 private:
  Endpoint* endpoint_ = nullptr;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader_;
  grpc::ByteBuffer reply_;
  std::optional<grpc::Alarm> alarm_;
  int attempts_ = 0;
  bool pausing_ = false;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_CALL_H_
