#include "server/completion_queue.h"

#include <algorithm>

#include "server/tag.h"

namespace attnd {
namespace {

void Poll(grpc::ServerCompletionQueue* queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) TakeBack(tag)->OnEvent(ok);
}

}  // namespace

int QueuesFor(int cpus) { return std::max(1, cpus / 8); }

CompletionQueues::CompletionQueues(grpc::ServerBuilder& builder, int count) {
  for (int i = 0; i < count; ++i) queues_.push_back(builder.AddCompletionQueue());
}

CompletionQueues::~CompletionQueues() {
  if (!pollers_.empty()) return;
  // Never started: gRPC still wants them shut down and empty.
  for (const auto& queue : queues_) {
    queue->Shutdown();
    Poll(queue.get());
  }
}

void CompletionQueues::Start() {
  for (const auto& queue : queues_) pollers_.emplace_back(Poll, queue.get());
}

void CompletionQueues::Stop() {
  for (const auto& queue : queues_) queue->Shutdown();
  for (std::thread& poller : pollers_) poller.join();
}

}  // namespace attnd
