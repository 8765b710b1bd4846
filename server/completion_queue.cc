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

CompletionQueues::~CompletionQueues() { Stop(); }

void CompletionQueues::Start() {
  for (const auto& queue : queues_) pollers_.emplace_back(Poll, queue.get());
}

void CompletionQueues::Stop() {
  for (const auto& queue : queues_) queue->Shutdown();
  if (pollers_.empty()) {
    for (const auto& queue : queues_) Poll(queue.get());  // gRPC wants them empty
  }
  for (std::thread& poller : pollers_) poller.join();
  pollers_.clear();
  queues_.clear();
}

}  // namespace attnd
