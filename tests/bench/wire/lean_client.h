// The cheapest client that gRPC allows: one request in slices that are sent again and again,
// answers that are not read.
#ifndef ATTND_TESTS_BENCH_WIRE_LEAN_CLIENT_H_
#define ATTND_TESTS_BENCH_WIRE_LEAN_CLIENT_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <functional>
#include <string>

namespace attnd::bench {

// Thread-compatible.
class LeanClient {
 public:
  explicit LeanClient(const std::string& address);
  ~LeanClient();
  LeanClient(const LeanClient&) = delete;
  LeanClient& operator=(const LeanClient&) = delete;

  // Keeps `in_flight` calls of AttentionService.Attend under way until `calls` were answered.
  // `latency` gets the seconds of each. Returns how many failed.
  int64_t Run(const grpc::ByteBuffer& message, int in_flight, int64_t calls,
              const std::function<void(double)>& latency);

 private:
  struct Call;

  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
};

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_WIRE_LEAN_CLIENT_H_
