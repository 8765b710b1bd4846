// A server that answers as a test tells it to, on generated code alone: what a client sends
// and how it takes refusals can be provoked without an attnd.
#ifndef ATTND_TESTS_INTEGRATION_FAKE_SERVER_H_
#define ATTND_TESTS_INTEGRATION_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attnd/v1/attention.grpc.pb.h"
#include "attnd/v1/server.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace attnd {

// Listens on a free port of 127.0.0.1 until destroyed, which cancels what still runs.
class FakeServer {
 public:
  // Called on gRPC's threads, several at a time.
  using AttendHandler =
      std::function<grpc::Status(grpc::ServerContext*, const v1::AttendRequest&, v1::AttendResponse*)>;

  struct Options {
    AttendHandler attend = ComputeAttention;
    v1::GetInfoResponse info = {};
    grpc::health::v1::HealthCheckResponse::ServingStatus health = grpc::health::v1::HealthCheckResponse::SERVING;
    // Largest request, in bytes; -1 for no limit.
    int max_receive_bytes = -1;
    // 0 takes a free one.
    int port = 0;
  };

  explicit FakeServer(Options options);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  // "127.0.0.1:PORT".
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int port() const { return port_; }

  // Attention in double precision for [len, dim] tensors sent as data, with scale and the
  // outputs asked for; no mask.
  static grpc::Status ComputeAttention(grpc::ServerContext* context, const v1::AttendRequest& request,
                                       v1::AttendResponse* response);

 private:
  class Attention;
  class Info;
  class Health;

  const Options options_;
  const std::unique_ptr<Attention> attention_;
  const std::unique_ptr<Info> info_;
  const std::unique_ptr<Health> health_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A tensor of a message from numbers, and back.
v1::Tensor MakeTensor(const std::vector<int64_t>& shape, const std::vector<float>& values);
std::vector<float> ValuesOf(const v1::Tensor& tensor);

// The address of a port where nobody listens.
std::string UnusedAddress();

}  // namespace attnd

#endif  // ATTND_TESTS_INTEGRATION_FAKE_SERVER_H_
