// One RPC on a completion queue, from being posted to being gone.
#ifndef ATTND_SERVER_CALL_H_
#define ATTND_SERVER_CALL_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "core/runtime/clock.h"
#include "core/runtime/mutex.h"
#include "server/metrics.h"
#include "server/tag.h"

namespace attnd {

// How many calls have been accepted and are not gone. Thread-safe.
class CallCounter {
 public:
  void Enter() ATTND_EXCLUDES(mutex_);
  void Leave() ATTND_EXCLUDES(mutex_);

  // Waits until there are none or `deadline` has passed; true when there are none.
  bool AwaitNone(Time deadline) ATTND_EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  CondVar none_;
  int64_t count_ ATTND_GUARDED_BY(mutex_) = 0;
};

// What calls of all kinds share. Outlives them.
struct CallScope {
  const Metrics* metrics = nullptr;
  CallCounter* calls = nullptr;
};

// Base of all calls. A call owns itself: it is made waiting for a client, replaces itself
// (Renew) when one has come and Serve has returned, and goes when the answer is sent and gRPC
// has said that the call is over.
//
// All its events come from one poller, one after the other, and with the last it goes;
// Answer-like functions of derived classes may be called once, from any thread, after which
// threads other than the poller must not touch the call.
class Call {
 public:
  virtual ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 protected:
  explicit Call(const CallScope& scope);

  // "/package.Service/Method", once accepted.
  [[nodiscard]] virtual std::string_view method() const = 0;
  // Posts another call of this kind. After Serve, since the client waits for that, while there
  // are other calls that wait for clients.
  virtual void Renew() = 0;
  // A client called. Must lead to one Finish, now or later.
  virtual void Serve() = 0;
  // The client is gone or its deadline has passed, and no answer has been sent yet. The
  // call must still be finished.
  virtual void OnGone() {}
  // The answer has been sent, or (not `ok`) could not be. The call goes soon after.
  virtual void OnSent([[maybe_unused]] bool ok) {}

  // For the derived constructor's Request..., its last statement.
  void* AcceptedTag();
  // Prepares to finish with `status`: sets trailers, counts. Returns what Finish is to be
  // called with, right after, together with FinishedTag. Once.
  grpc::Status Close(const absl::Status& status);
  void* FinishedTag();

  // For kinds of calls with further events: before such an operation starts, while the call
  // is not finished, and on the poller when its event is over; the call may go then.
  void ExpectEvent() { ++events_left_; }
  void ReleaseOne();

  [[nodiscard]] Time arrived() const { return arrived_; }
  [[nodiscard]] Time closed() const { return closed_; }
  [[nodiscard]] grpc::StatusCode code() const { return code_; }

  // Generic calls need this kind; it does for the others.
  grpc::GenericServerContext context_;

 private:
  void OnAccepted(bool ok);
  void OnFinished(bool ok);
  void OnDone(bool ok);
  // One line per call at debug; kinds of calls with more to say override it.
  virtual void LogAccess() const;

  const CallScope& scope_;
  MemberTag<Call, &Call::OnAccepted> accepted_tag_{this};
  MemberTag<Call, &Call::OnFinished> finished_tag_{this};
  MemberTag<Call, &Call::OnDone> done_tag_{this};
  // Events to come: finished, done, and those that are expected.
  std::atomic<int> events_left_ = 2;
  bool finished_ = false;
  bool accepted_ = false;
  const MethodMetrics* metrics_ = nullptr;
  Time arrived_;
  Time closed_;
  grpc::StatusCode code_ = grpc::StatusCode::OK;
};

// A call with one request and one response.
template <typename Request, typename Response>
class UnaryCall : public Call {
 protected:
  explicit UnaryCall(const CallScope& scope) : Call(scope), responder_(&context_) {}

  void Answer(const Response& response) {
    const grpc::Status status = Close(absl::OkStatus());
    const StartingOperation starting;
    responder_.Finish(response, status, FinishedTag());
  }
  // REQUIRES: !error.ok().
  void Answer(const absl::Status& error) {
    const grpc::Status status = Close(error);
    const StartingOperation starting;
    responder_.FinishWithError(status, FinishedTag());
  }

  Request request_;
  grpc::ServerAsyncResponseWriter<Response> responder_;
};

// A call with any number of requests and one response.
template <typename Request, typename Response>
class ClientStreamCall : public Call {
 protected:
  explicit ClientStreamCall(const CallScope& scope) : Call(scope), reader_(&context_) {}

  // Starts to read the next message into request_, which leads to one OnRead. On any
  // thread, one at a time. REQUIRES: ExpectEvent was called for it while the call was not
  // answered; it may be by now.
  void StartRead() {
    const StartingOperation starting;
    reader_.Read(&request_, HandOver(&read_tag_));
  }
  // On the poller. Not `ok`: no message will come any more, because the client is through
  // or gone or the call has been answered.
  virtual void OnRead(bool ok) = 0;

  // May be called while a message is being read.
  void Answer(const Response& response) {
    const grpc::Status status = Close(absl::OkStatus());
    const StartingOperation starting;
    reader_.Finish(response, status, FinishedTag());
  }
  // REQUIRES: !error.ok().
  void Answer(const absl::Status& error) {
    const grpc::Status status = Close(error);
    const StartingOperation starting;
    reader_.FinishWithError(status, FinishedTag());
  }

  Request request_;
  grpc::ServerAsyncReader<Response, Request> reader_;

 private:
  void OnReadEvent(bool ok) {
    OnRead(ok);
    ReleaseOne();
  }

  MemberTag<ClientStreamCall, &ClientStreamCall::OnReadEvent> read_tag_{this};
};

}  // namespace attnd

#endif  // ATTND_SERVER_CALL_H_
