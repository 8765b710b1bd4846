#include "server/call.h"

#include <string>

#include "server/logging.h"
#include "server/status.h"

namespace attnd {

void CallCounter::Enter() {
  const MutexLock lock(mutex_);
  ++count_;
}

void CallCounter::Leave() {
  const MutexLock lock(mutex_);
  if (--count_ == 0) none_.SignalAll();
}

bool CallCounter::AwaitNone(Time deadline) {
  const MutexLock lock(mutex_);
  while (count_ > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    none_.WaitUntil(mutex_, deadline);
  }
  return true;
}

Call::Call(const CallScope& scope) : scope_(scope) { context_.AsyncNotifyWhenDone(HandOver(&done_tag_)); }

Call::~Call() {
  if (accepted_) scope_.calls->Leave();
}

void* Call::AcceptedTag() { return HandOver(&accepted_tag_); }

void* Call::FinishedTag() { return HandOver(&finished_tag_); }

void Call::OnAccepted(bool ok) {
  if (!ok) {
    delete this;  // the server is shutting down; no other event will come
    return;
  }
  accepted_ = true;
  scope_.calls->Enter();
  arrived_ = std::chrono::steady_clock::now();
  metrics_ = &scope_.metrics->Method(method());
  metrics_->started->Increment();
  Serve();
  Renew();
}

grpc::Status Call::Close(const absl::Status& status) {
  closed_ = std::chrono::steady_clock::now();
  if (const auto pushback = PushbackOf(status)) context_.AddTrailingMetadata(kPushbackTrailer, *pushback);
  grpc::Status answer = ToGrpcStatus(status);
  code_ = answer.error_code();
  metrics_->handled[static_cast<size_t>(code_)]->Increment();
  metrics_->seconds->Observe(Seconds(closed_ - arrived_));
  if (code_ == grpc::StatusCode::INTERNAL) {
    Log(LogLevel::kError, "internal error",
        {{"method", std::string(method())}, {"peer", context_.peer()}, {"error", answer.error_message()}});
  }
  return answer;
}

void Call::OnFinished(bool ok) {
  finished_ = true;
  LogAccess();
  OnSent(ok);
  ReleaseOne();
}

void Call::LogAccess() const {
  if (!LogEnabled(LogLevel::kDebug)) return;
  Log(LogLevel::kDebug, "call",
      {{"method", std::string(method())},
       {"code", CodeName(code_)},
       {"peer", context_.peer()},
       {"seconds", Seconds(closed_ - arrived_)}});
}

void Call::OnDone(bool /*ok*/) {
  if (!finished_ && context_.IsCancelled()) OnGone();
  ReleaseOne();
}

void Call::ReleaseOne() {
  if (--events_left_ == 0) delete this;
}

}  // namespace attnd
