// attnd_echo: what a service costs that computes nothing. Reads a request, copies its first
// third and sends the copy back, over plain TCP or over gRPC with nothing around it.
//
//   attnd_echo tcp|grpc     prints "echo ready 127.0.0.1:PORT", ends with its standard input
#include <grpcpp/completion_queue.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "attnd/v1/attention.grpc.pb.h"
#include "core/runtime/lock_tuning.h"
#include "core/runtime/malloc_tuning.h"
#include "tests/bench/wire/tcp.h"

namespace attnd::bench {
namespace {

using Rpcs = v1::AttentionService::WithRawMethod_Attend<v1::AttentionService::Service>;

void AnnounceAndWait(int port) {
  std::printf("echo ready 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}

// One call: requested, answered, gone.
class EchoCall {
 public:
  EchoCall(Rpcs* rpcs, grpc::ServerCompletionQueue* queue) : rpcs_(rpcs), queue_(queue), responder_(&context_) {
    rpcs_->RequestAttend(&context_, &request_, &responder_, queue_, queue_, this);
  }

  void OnEvent(bool ok) {
    if (!ok || answered_) {
      delete this;
      return;
    }
    answered_ = true;
    const size_t size = request_.Length() / kReplyPart;
    auto* copy = static_cast<char*>(std::malloc(size));  // NOLINT(cppcoreguidelines-no-malloc): the slice frees it
    Gather(copy, size);
    request_.Clear();
    const grpc::Slice slice(copy, size, std::free);
    responder_.Finish(grpc::ByteBuffer(&slice, 1), grpc::Status::OK, this);
    new EchoCall(rpcs_, queue_);
  }

 private:
  void Gather(char* to, size_t left) {
    grpc::ProtoBufferReader reader(&request_);
    const void* data = nullptr;
    int size = 0;
    while (left > 0 && reader.Next(&data, &size)) {
      const size_t take = std::min(left, static_cast<size_t>(size));
      std::memcpy(to, data, take);
      to += take;
      left -= take;
    }
  }

  Rpcs* const rpcs_;
  grpc::ServerCompletionQueue* const queue_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> responder_;
  bool answered_ = false;
};

int ServeGrpc() {
  constexpr int kCallsWaiting = 64;
  Rpcs rpcs;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  builder.RegisterService(&rpcs);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  for (int i = 0; i < kCallsWaiting; ++i) new EchoCall(&rpcs, queue.get());
  std::thread poller([&queue] {
    void* tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok)) static_cast<EchoCall*>(tag)->OnEvent(ok);
  });
  AnnounceAndWait(port);
  server->Shutdown();
  queue->Shutdown();
  poller.join();
  return 0;
}

void ServeConnection(int fd) {
  std::vector<char> request;
  std::vector<char> reply;
  for (uint64_t size = 0; ReadAll(fd, &size, sizeof(size));) {
    request.resize(size);
    reply.resize(size / kReplyPart);
    if (!ReadAll(fd, request.data(), request.size())) break;
    std::memcpy(reply.data(), request.data(), reply.size());
    if (!WriteAll(fd, reply.data(), reply.size())) break;
  }
  close(fd);
}

int ServeTcp() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  constexpr int kBacklog = 64;
  if (bind(listener, any, length) != 0 || listen(listener, kBacklog) != 0 || getsockname(listener, any, &length) != 0) {
    return 1;
  }
  std::thread([listener] {
    while (true) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      SetNoDelay(fd);
      std::thread(ServeConnection, fd).detach();
    }
  }).detach();
  AnnounceAndWait(ntohs(address.sin_port));
  std::_Exit(0);
}

}  // namespace
}  // namespace attnd::bench

int main(int argc, char** argv) {
  attnd::TuneMalloc();
  attnd::TuneLocks();
  const std::string_view kind = argc == 2 ? argv[1] : "";
  if (kind == "tcp") return attnd::bench::ServeTcp();
  if (kind == "grpc") return attnd::bench::ServeGrpc();
  std::fputs("usage: attnd_echo tcp|grpc\n", stderr);
  return 2;
}
