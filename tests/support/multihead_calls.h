// MultiHeadAttend through a server: requests as clients send them, calls in progress, and
// whether the answers are those of the same request without a server.
#ifndef ATTND_TESTS_SUPPORT_MULTIHEAD_CALLS_H_
#define ATTND_TESTS_SUPPORT_MULTIHEAD_CALLS_H_

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attnd/v1/attention.grpc.pb.h"
#include "proto/codec.h"
#include "tests/support/multihead_case.h"
#include "tests/support/server_fixture.h"
#include "tests/support/wire.h"

namespace attnd {

inline v1::MultiHeadAttendRequest WireOf(codec::MultiHeadCall call) {
  v1::MultiHeadAttendRequest wire;
  EXPECT_TRUE(wire.ParseFromString(codec::ToString(codec::EncodeMultiHeadRequest(call))));
  return wire;
}

// With its weights.
inline v1::MultiHeadAttendRequest InlineRequest(const MultiHeadCase& c) {
  codec::MultiHeadCall call;
  call.request = c.request;
  call.with_request = c.weights;
  return WireOf(call);
}

// With weights that were registered.
inline v1::MultiHeadAttendRequest IdRequest(const MultiHeadCase& c, const std::string& id) {
  codec::MultiHeadCall call;
  call.request = c.request;
  call.weights_id = id;
  return WireOf(call);
}

inline v1::MultiHeadAttendRequest AliasRequest(const MultiHeadCase& c, const std::string& alias) {
  codec::MultiHeadCall call;
  call.request = c.request;
  call.weights_alias = alias;
  return WireOf(call);
}

inline grpc::Status MultiHeadAttend(v1::AttentionService::Stub& stub, const v1::MultiHeadAttendRequest& request,
                                    v1::MultiHeadAttendResponse* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  return stub.MultiHeadAttend(&context, request, response);
}

inline bool SameTensor(const v1::Tensor& reply, const ResultTensor& result) {
  const std::string bytes(reinterpret_cast<const char*>(result.data.data()), result.data.size());
  return std::vector<int64_t>(reply.shape().begin(), reply.shape().end()) == result.shape && reply.data() == bytes;
}

inline void ExpectSameTensor(const char* name, bool came, const v1::Tensor& reply,
                             const std::optional<ResultTensor>& result) {
  ASSERT_EQ(came, result.has_value()) << name;
  if (came) {
    EXPECT_TRUE(SameTensor(reply, *result)) << name;
  }
}

// Every bit.
inline void ExpectSameAnswer(const v1::MultiHeadAttendResponse& reply, const MultiHeadResult& result) {
  EXPECT_TRUE(SameTensor(reply.output(), result.attention.output));
  ExpectSameTensor("lse", reply.has_lse(), reply.lse(), result.attention.lse);
  ExpectSameTensor("weights", reply.has_weights(), reply.weights(), result.attention.weights);
  ExpectSameTensor("scores", reply.has_scores(), reply.scores(), result.attention.scores);
  ASSERT_EQ(static_cast<size_t>(reply.explain_size()), result.explain.size());
  for (size_t i = 0; i < result.explain.size(); ++i) {
    const v1::NamedTensor& named = reply.explain(static_cast<int>(i));
    EXPECT_EQ(named.name(), result.explain[i].name);
    EXPECT_TRUE(SameTensor(named.tensor(), result.explain[i].tensor)) << named.name();
  }
}

// Calls in progress on one channel.
class MultiHeadCalls {
 public:
  explicit MultiHeadCalls(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::AttentionService::NewStub(channel)) {}
  // Cancels what is left.
  ~MultiHeadCalls() {
    for (Call& call : calls_) call.context.TryCancel();
    AwaitAll();
  }
  MultiHeadCalls(const MultiHeadCalls&) = delete;
  MultiHeadCalls& operator=(const MultiHeadCalls&) = delete;

  // response and status are valid once done.
  struct Call {
    grpc::ClientContext context;
    v1::MultiHeadAttendRequest request;
    v1::MultiHeadAttendResponse response;
    grpc::Status status;
    std::atomic<bool> done = false;
  };

  // Stays where it is; `prepare` may set deadline and metadata.
  Call& Start(
      v1::MultiHeadAttendRequest request, const std::function<void(grpc::ClientContext&)>& prepare = [](auto&) {}) {
    Call& call = calls_.emplace_back();
    call.request = std::move(request);
    prepare(call.context);
    stub_->async()->MultiHeadAttend(&call.context, &call.request, &call.response, [&call](grpc::Status status) {
      call.status = std::move(status);
      call.done = true;
    });
    return call;
  }

  // Waits for the answers to all of them.
  void AwaitAll() {
    for (Call& call : calls_) {
      if (Eventually([&call] { return call.done.load(); })) continue;
      ADD_FAILURE() << "a call has no answer";
      std::abort();  // its memory is still in use
    }
  }

 private:
  const std::unique_ptr<v1::AttentionService::Stub> stub_;
  std::list<Call> calls_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_MULTIHEAD_CALLS_H_
