// A real server, inside the test or as a process of its own, and what tests say to it.
#ifndef ATTND_TESTS_SUPPORT_SERVER_FIXTURE_H_
#define ATTND_TESTS_SUPPORT_SERVER_FIXTURE_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "attnd/v1/attention.grpc.pb.h"
#include "attnd/v1/server.grpc.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/options.h"
#include "server/server.h"
#include "tests/support/attention_problem.h"

namespace attnd {

// Longest wait for something that must happen.
inline constexpr std::chrono::seconds kPatience{60};

// Looks again and again until `condition` holds; false if it does not within kPatience.
bool Eventually(const std::function<bool()>& condition);

// A channel without limits on messages, connected to nothing that other channels use.
std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address);

struct HttpReply {
  int status = 0;
  std::string headers;
  std::string body;
};
// Status 0 if the server cannot be reached.
HttpReply Http(const std::string& address, const std::string& path, const std::string& method = "GET");

// Value of the series written exactly like `series`, labels in alphabetical order, on the
// server's /metrics; -1 if there is none.
double Metric(const std::string& http_address, const std::string& series);

// Loopback, any port, quick to stop, two workers.
ServerOptions TestOptions();

// A server in this process. Fails the test if it does not start.
class RunningServer {
 public:
  explicit RunningServer(const ServerOptions& options = TestOptions());

  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] const std::string& address() const { return server_->grpc_addresses().front(); }
  [[nodiscard]] const std::string& http() const { return server_->http_address(); }
  [[nodiscard]] std::shared_ptr<grpc::Channel> channel() const { return channel_; }
  [[nodiscard]] v1::AttentionService::Stub& attention() const { return *attention_; }
  [[nodiscard]] v1::ServerService::Stub& info() const { return *info_; }
  [[nodiscard]] grpc::health::v1::Health::Stub& health() const { return *health_; }

 private:
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AttentionService::Stub> attention_;
  std::unique_ptr<v1::ServerService::Stub> info_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

// The program attnd as a process, killed at the end if it still runs.
class ServerProcess {
 public:
  // `environment` is added to the test's own, as NAME=VALUE.
  explicit ServerProcess(std::vector<std::string> arguments, const std::vector<std::string>& environment = {});
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Waits for the ready line; false if the process ended first.
  bool AwaitReady();
  // From the ready line.
  [[nodiscard]] std::string grpc_address() const;
  [[nodiscard]] std::string http_address() const;

  void Signal(int number) const;
  // Waits for the end: the exit status, or 128 + the signal that killed it.
  int AwaitExit();
  [[nodiscard]] bool running();

  // What it has printed so far.
  [[nodiscard]] std::string out() const;
  [[nodiscard]] std::string err() const;

 private:
  [[nodiscard]] std::string WordAfter(const std::string& key) const;

  std::string directory_;
  pid_t pid_ = -1;
  int wait_status_ = -1;
};

// The problem as a request, its tensors as `data`.
v1::AttendRequest ToProto(const AttentionProblem& problem);
// One head, `len` queries and keys, head_dim 64: about 256 * len^2 operations.
v1::AttendRequest SquareRequest(int64_t len);
// A small request that is right.
v1::AttendRequest SmallRequest();

// The elements of a tensor in either form.
std::vector<float> FloatsOf(const v1::Tensor& tensor);

// The details that came with a status; empty if there are none.
google::rpc::Status DetailsOf(const grpc::Status& status);
// The field that BadRequest names first, or "".
std::string BadFieldOf(const grpc::Status& status);

// Calls `method` with these bytes as they are.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const std::string& bytes);

// Attend calls in progress on one channel, polled by a thread of their own: without one,
// gRPC would not send them.
class AttendCalls {
 public:
  explicit AttendCalls(const std::shared_ptr<grpc::Channel>& channel);
  // Cancels what is left.
  ~AttendCalls();
  AttendCalls(const AttendCalls&) = delete;
  AttendCalls& operator=(const AttendCalls&) = delete;

  // response and status are valid after AwaitAll.
  struct Call {
    grpc::ClientContext context;
    v1::AttendResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::AttendResponse>> reader;
  };

  // Stays where it is; `prepare` may set deadline and metadata.
  Call& Start(
      const v1::AttendRequest& request, const std::function<void(grpc::ClientContext&)>& prepare = [](auto&) {});
  // Waits for the answers to all of them.
  void AwaitAll();

 private:
  void Poll();

  std::unique_ptr<v1::AttentionService::Stub> stub_;
  grpc::CompletionQueue queue_;
  std::list<Call> calls_;
  std::atomic<size_t> done_ = 0;
  std::thread poller_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_SERVER_FIXTURE_H_
