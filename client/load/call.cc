#include "client/load/call.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/channel.h"

namespace attnd::load {

void Call::Prepare(Endpoint* endpoint, const Work& work, std::optional<Time> deadline, grpc::CompletionQueue* queue) {
  endpoint_ = endpoint;
  reader_.reset();
  context_.emplace();
  if (deadline.has_value()) {
    context_->set_deadline(std::chrono::system_clock::now() + (*deadline - Clock::Real().Now()));
  }
  reader_ = endpoint->stub.PrepareUnaryCall(&*context_, work.method, work.message, queue);
}

void Call::Send(Time now, std::atomic<int64_t>* sends) {
  if (attempts_++ == 0) record.first_sent = now;
  record.sent = now;
  pausing_ = false;
  auto& reader = *reader_;
  reader.StartCall();
  ++*sends;
  // From here on the event may come, on another thread.
  reader.Finish(&reply_, &record.status, this);
}

void Call::Pause(Duration pause, grpc::CompletionQueue* queue) {
  pausing_ = true;
  alarm_.emplace();
  alarm_->Set(queue, std::chrono::system_clock::now() + pause, this);
}

void Call::Cancel() {
  if (pausing_) {
    alarm_->Cancel();
  } else if (context_.has_value()) {
    context_->TryCancel();
  }
}

void Call::Finished(Time now) {
  record.done = now;
  record.retries = attempts_ - 1;
  record.response_bytes = reply_.Length();
}

std::optional<std::chrono::milliseconds> Call::Pushback() const {
  const auto& trailers = context_->GetServerTrailingMetadata();
  const auto hint = trailers.find("grpc-retry-pushback-ms");
  if (hint == trailers.end()) return std::nullopt;
  int milliseconds = 0;
  // What is no number forbids to come back, as gRPC defines it.
  if (!absl::SimpleAtoi(std::string(hint->second.data(), hint->second.size()), &milliseconds)) milliseconds = -1;
  return std::chrono::milliseconds(milliseconds);
}

std::string Call::Message() const {
  std::string message = record.status.error_message();
  if (record.status.error_code() == grpc::StatusCode::UNAVAILABLE &&
      endpoint_->channel->GetState(false) == GRPC_CHANNEL_TRANSIENT_FAILURE) {
    return std::string(NoServerAt(endpoint_->address, message).message());
  }
  if (record.status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && message == "Deadline Exceeded") {
    return absl::StrCat("no answer from ", endpoint_->address, " in time");
  }
  return message;
}

void Call::Reset() {
  record = {};
  attempts_ = 0;
  pausing_ = false;
  reader_.reset();
  context_.reset();
  alarm_.reset();
  reply_.Clear();
}

}  // namespace attnd::load
