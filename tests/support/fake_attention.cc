#include "tests/support/fake_attention.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "client/load/exact_sleep.h"

namespace attnd {
namespace {

// A call from its arrival to its answer; deletes itself after the last event.
struct Rpc {
  enum class State { kWanted, kReading, kAnswered };
  // Atomic, because race detectors do not see how gRPC's queue orders what threads do to it.
  std::atomic<State> state = State::kWanted;
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter stream{&context};
  grpc::ByteBuffer request;
  FakeAnswer answer;
};

void Send(Rpc* rpc) {
  if (rpc->answer.pushback_ms.has_value()) {
    rpc->context.AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(*rpc->answer.pushback_ms));
  }
  rpc->state = Rpc::State::kAnswered;
  if (rpc->answer.status.ok()) {
    rpc->stream.WriteAndFinish(rpc->answer.message, {}, grpc::Status::OK, rpc);
  } else {
    rpc->stream.Finish(rpc->answer.status, rpc);
  }
}

}  // namespace

class FakeAttention::Impl {
 public:
  explicit Impl(FakeAttentionOptions options);

  void Stop();
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] int64_t calls() const { return calls_; }

 private:
  // A call and when its answer is to be sent.
  struct Work {
    Time end;
    Rpc* rpc = nullptr;
  };

  void TakeCalls();
  void Want();
  void Arrived(Rpc* rpc);
  [[nodiscard]] Time EndOfWork(Time begin) const;
  void SendAnswers();

  const FakeAttentionOptions options_;
  const Time start_ = Clock::Real().Now();
  grpc::AsyncGenericService service_;
  int port_ = 0;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::atomic<int64_t> calls_{0};
  // When each server will have done all that came so far.
  std::vector<Time> free_;
  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<Work> under_way_;
  std::atomic<bool> stopping_{false};
  std::thread taker_;
  std::thread sender_;
};

FakeAttention::Impl::Impl(FakeAttentionOptions options)
    : options_(std::move(options)), free_(static_cast<size_t>(options_.servers), start_) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(options_.port), grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterAsyncGenericService(&service_);
  queue_ = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    ADD_FAILURE() << "cannot listen on port " << options_.port;
    return;
  }
  taker_ = std::thread([this] { TakeCalls(); });
  sender_ = std::thread([this] { SendAnswers(); });
}

void FakeAttention::Impl::Stop() {
  if (stopping_.exchange(true) || server_ == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    more_.notify_all();
  }
  if (sender_.joinable()) sender_.join();
  server_->Shutdown(std::chrono::system_clock::now());
  queue_->Shutdown();
  if (taker_.joinable()) taker_.join();
}

void FakeAttention::Impl::TakeCalls() {
  Want();
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
    Rpc* const rpc = static_cast<Rpc*>(tag);
    const Rpc::State state = rpc->state;
    if (!ok || state == Rpc::State::kAnswered) {
      delete rpc;
    } else if (state == Rpc::State::kWanted) {
      if (!stopping_) Want();
      rpc->state = Rpc::State::kReading;
      rpc->stream.Read(&rpc->request, rpc);
    } else {
      Arrived(rpc);
    }
  }
}

void FakeAttention::Impl::Want() {
  Rpc* const rpc = new Rpc;
  service_.RequestCall(&rpc->context, &rpc->stream, queue_.get(), queue_.get(), rpc);
}

void FakeAttention::Impl::Arrived(Rpc* rpc) {
  const Time now = Clock::Real().Now();
  if (rpc->context.method().rfind("/attnd.v1.AttentionService/", 0) != 0) {
    rpc->answer.status = {grpc::StatusCode::UNIMPLEMENTED, "not of the fake"};
  } else {
    rpc->answer = options_.answer(calls_++);
  }
  if (!rpc->answer.status.ok() || options_.service_time == Duration(0)) {
    Send(rpc);
    return;
  }
  Time& free = *std::min_element(free_.begin(), free_.end());
  free = EndOfWork(std::max(now, free));
  const std::lock_guard lock(mutex_);
  if (stopping_) {
    rpc->answer.status = {grpc::StatusCode::UNAVAILABLE, "the fake stops"};
    Send(rpc);
    return;
  }
  // In order: all take the same time.
  under_way_.push_back({free, rpc});
  more_.notify_all();
}

Time FakeAttention::Impl::EndOfWork(Time begin) const {
  if (options_.stall == Duration(0)) return begin + options_.service_time;
  Duration left = options_.service_time;
  for (;;) {
    const Duration since_start = begin - start_;
    const Time stall_begin = start_ + since_start / options_.stall_every * options_.stall_every;
    // None at the very start.
    if (stall_begin > start_ && begin < stall_begin + options_.stall) begin = stall_begin + options_.stall;
    const Time next_stall = stall_begin + options_.stall_every;
    if (begin + left <= next_stall) return begin + left;
    left -= next_stall - begin;
    begin = next_stall;
  }
}

void FakeAttention::Impl::SendAnswers() {
  load::ExactSleep sleep;
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [this] { return stopping_ || !under_way_.empty(); });
    if (stopping_) break;
    const Work work = under_way_.front();
    under_way_.pop_front();
    lock.unlock();
    if (!sleep.Until(work.end, stopping_)) work.rpc->answer.status = {grpc::StatusCode::UNAVAILABLE, "the fake stops"};
    Send(work.rpc);
    lock.lock();
  }
  for (const Work& work : under_way_) {
    work.rpc->answer.status = {grpc::StatusCode::UNAVAILABLE, "the fake stops"};
    Send(work.rpc);
  }
  under_way_.clear();
}

FakeAttention::FakeAttention(FakeAttentionOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

FakeAttention::~FakeAttention() { Stop(); }

int FakeAttention::port() const { return impl_->port(); }

int64_t FakeAttention::calls() const { return impl_->calls(); }

void FakeAttention::Stop() { impl_->Stop(); }

}  // namespace attnd
