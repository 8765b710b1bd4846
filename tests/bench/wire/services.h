// The services that are measured side by side: all on one CPU, the client on another.
#ifndef ATTND_TESTS_BENCH_WIRE_SERVICES_H_
#define ATTND_TESTS_BENCH_WIRE_SERVICES_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/attention/plan.h"
#include "tests/bench/wire/child.h"
#include "tests/bench/wire/lean_client.h"

namespace attnd::bench {

// What some calls took.
struct Calls {
  // Median seconds of a call.
  double p50 = 0;
  double per_second = 0;
  // CPU seconds and page faults of the server, per call.
  double cpu = 0;
  double faults = 0;
};

// A service that answers requests for attention, or pretends to. Thread-compatible.
class Service {
 public:
  virtual ~Service() = default;
  // `calls` calls, `in_flight` at a time. Ends the program if one fails.
  virtual Calls Run(const grpc::ByteBuffer& message, int in_flight, int64_t calls) = 0;
};

// attnd, or whatever else serves attnd.v1.AttentionService.
class GrpcService final : public Service {
 public:
  // `arguments` start a server that says in the first line of its output, after `mark`,
  // where it listens; nullptr if it does not.
  static std::unique_ptr<GrpcService> Start(std::vector<std::string> arguments, const std::string& mark);
  Calls Run(const grpc::ByteBuffer& message, int in_flight, int64_t calls) override;
  [[nodiscard]] const Child& child() const { return *child_; }

 private:
  explicit GrpcService(std::unique_ptr<Child> child) : child_(std::move(child)) {}

  std::unique_ptr<Child> child_;
  std::optional<LeanClient> client_;
};

// Plain TCP, which knows only one call at a time.
class TcpService final : public Service {
 public:
  static std::unique_ptr<TcpService> Start();
  ~TcpService() override;
  TcpService(const TcpService&) = delete;
  TcpService& operator=(const TcpService&) = delete;
  Calls Run(const grpc::ByteBuffer& message, int in_flight, int64_t calls) override;

 private:
  TcpService(std::unique_ptr<Child> child, int fd) : child_(std::move(child)), fd_(fd) {}

  const std::unique_ptr<Child> child_;
  const int fd_;
};

// Random float32 tensors of that shape as an AttendRequest.
grpc::ByteBuffer RequestOf(const Dims& dims);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_WIRE_SERVICES_H_
