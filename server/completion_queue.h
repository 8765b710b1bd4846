// Completion queues and the threads that poll them.
#ifndef ATTND_SERVER_COMPLETION_QUEUE_H_
#define ATTND_SERVER_COMPLETION_QUEUE_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <thread>
#include <vector>

namespace attnd {

// One queue up to 15 CPUs, one per eight above: a second queue costs two task switches
// per call, so it must be earned.
int QueuesFor(int cpus);

// Queues of a server, each with one polling thread: a call's events never overlap.
// Thread-compatible.
class CompletionQueues {
 public:
  // Adds `count` queues to `builder`.
  CompletionQueues(grpc::ServerBuilder& builder, int count);
  // Stops, if Stop has not been called.
  ~CompletionQueues();
  CompletionQueues(const CompletionQueues&) = delete;
  CompletionQueues& operator=(const CompletionQueues&) = delete;

  // Starts the pollers. Call once, after the server has started.
  void Start();

  // Delivers what is left, joins the pollers and drops the queues. REQUIRES: the server has
  // shut down, all its calls have ended, and no operation will be started from now on.
  void Stop();

  [[nodiscard]] const std::vector<std::unique_ptr<grpc::ServerCompletionQueue>>& queues() const { return queues_; }

 private:
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues_;
  std::vector<std::thread> pollers_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_COMPLETION_QUEUE_H_
