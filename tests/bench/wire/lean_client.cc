#include "tests/bench/wire/lean_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <chrono>
#include <memory>

namespace attnd::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

struct LeanClient::Call {
  grpc::ClientContext context;
  grpc::ByteBuffer reply;
  grpc::Status status;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  Clock::time_point begin = Clock::now();

  Call(LeanClient& client, const grpc::ByteBuffer& message)
      : reader(client.stub_.PrepareUnaryCall(&context, "/attnd.v1.AttentionService/Attend", message, &client.queue_)) {
    reader->StartCall();
    reader->Finish(&reply, &status, this);
  }
};

LeanClient::LeanClient(const std::string& address) : stub_(Connect(address)) {}

LeanClient::~LeanClient() {
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) delete static_cast<Call*>(tag);
}

int64_t LeanClient::Run(const grpc::ByteBuffer& message, int in_flight, int64_t calls,
                        const std::function<void(double)>& latency) {
  int64_t started = 0;
  int64_t failed = 0;
  for (; started < in_flight && started < calls; ++started) new Call(*this, message);
  for (int64_t done = 0; done < calls; ++done) {
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
    const std::unique_ptr<Call> call(static_cast<Call*>(tag));
    latency(std::chrono::duration<double>(Clock::now() - call->begin).count());
    if (!ok || !call->status.ok()) ++failed;
    if (started == calls) continue;
    new Call(*this, message);
    ++started;
  }
  return failed;
}

}  // namespace attnd::bench
