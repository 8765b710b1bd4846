#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "core/runtime/clock.h"
#include "tests/integration/fake_server.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

// Owns what the request borrows.
struct OwnedRequest {
  std::vector<float> query = {1, 0, 0, 1};
  std::vector<float> key = {1, 0, 0, 1, 1, 1};
  std::vector<float> value = {1, 2, 3};
  AttentionRequest request;

  OwnedRequest() {
    request.query = View({2, 2}, query);
    request.key = View({3, 2}, key);
    request.value = View({3, 1}, value);
  }
  static TensorView View(std::vector<int64_t> shape, const std::vector<float>& values) {
    return {DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(values)))};
  }
};

std::unique_ptr<Client> ConnectTo(const std::string& address,
                                  RetryPolicy retry = {.initial_backoff = milliseconds(1)}) {
  auto client = Client::Connect({.address = address, .retry = retry});
  EXPECT_THAT(client, IsOk());
  return *std::move(client);
}

// A handler that counts its calls and refuses the first `refusals` of them.
class Refusing {
 public:
  Refusing(int refusals, grpc::StatusCode code, std::string pushback = "")
      : refusals_(refusals), code_(code), pushback_(std::move(pushback)) {}

  FakeServer::AttendHandler handler() {
    return [this](grpc::ServerContext* context, const v1::AttendRequest& request, v1::AttendResponse* response) {
      const int call = ++calls_;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        times_.push_back(Clock::Real().Now());
      }
      if (call > refusals_) return FakeServer::ComputeAttention(context, request, response);
      if (!pushback_.empty()) context->AddTrailingMetadata("grpc-retry-pushback-ms", pushback_);
      return grpc::Status(code_, "refused " + std::to_string(call));
    };
  }
  [[nodiscard]] int calls() const { return calls_; }
  std::vector<Time> times() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return times_;
  }

 private:
  const int refusals_;
  const grpc::StatusCode code_;
  const std::string pushback_;
  std::atomic<int> calls_ = 0;
  std::mutex mutex_;
  std::vector<Time> times_;
};

TEST(ClientTest, SendsTheRequestAndReturnsTheReply) {
  v1::AttendRequest seen;
  FakeServer server(
      {.attend = [&seen](grpc::ServerContext* context, const v1::AttendRequest& request, v1::AttendResponse* response) {
        seen = request;
        return FakeServer::ComputeAttention(context, request, response);
      }});
  OwnedRequest input;
  input.request.options.scale = 0.5F;
  input.request.options.causal = true;
  input.request.options.alignment = Alignment::kOffset;
  input.request.options.q_offset = {-3};
  input.request.outputs = {.lse = true, .weights = WeightsOutput()};
  const auto reply = ConnectTo(server.address())->Attend(input.request);
  ASSERT_THAT(reply, IsOk());

  EXPECT_EQ(ValuesOf(seen.query()), input.query);
  EXPECT_EQ(ValuesOf(seen.key()), input.key);
  EXPECT_EQ(ValuesOf(seen.value()), input.value);
  EXPECT_THAT(seen.query().shape(), ElementsAre(2, 2));
  EXPECT_EQ(seen.options().scale(), 0.5F);
  EXPECT_TRUE(seen.options().causal());
  EXPECT_EQ(seen.options().alignment(), v1::ALIGNMENT_OFFSET);
  EXPECT_THAT(seen.options().q_offset(), ElementsAre(-3));

  v1::AttendResponse expected;
  ASSERT_TRUE(FakeServer::ComputeAttention(nullptr, seen, &expected).ok());
  EXPECT_EQ(reply->output.values, ValuesOf(expected.output()));
  EXPECT_THAT(reply->output.shape, ElementsAre(2, 1));
  ASSERT_TRUE(reply->lse && reply->weights);
  EXPECT_FALSE(reply->scores);
  EXPECT_EQ(reply->lse->values, ValuesOf(expected.lse()));
  EXPECT_EQ(reply->weights->values, ValuesOf(expected.weights()));
  EXPECT_THAT(reply->weights->shape, ElementsAre(1, 1, 2, 3));
  EXPECT_DOUBLE_EQ(reply->compute_seconds, 0.0025);
  EXPECT_EQ(reply->numerics_id, "fake");
}

TEST(ClientTest, PassesRequestsAndRepliesOverGrpcsUsualLimits) {
  FakeServer server(
      {.attend = [](grpc::ServerContext* /*context*/, const v1::AttendRequest& request, v1::AttendResponse* response) {
        *response->mutable_output() = request.query();
        return grpc::Status::OK;
      }});
  std::vector<float> values(size_t{3} << 20);
  std::iota(values.begin(), values.end(), 0.0F);
  AttentionRequest request;
  request.query = OwnedRequest::View({int64_t{3} << 10, 1024}, values);
  request.key = request.value = request.query;
  const auto reply = ConnectTo(server.address())->Attend(request);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->output.values, values);
}

TEST(ClientTest, SendsPriorityAndTenantOnlyIfGiven) {
  std::multimap<std::string, std::string> metadata;
  FakeServer server({.attend = [&metadata](grpc::ServerContext* context, const v1::AttendRequest& request,
                                           v1::AttendResponse* response) {
    metadata.clear();
    for (const auto& [key, value] : context->client_metadata()) {
      metadata.emplace(std::string(key.data(), key.size()), std::string(value.data(), value.size()));
    }
    return FakeServer::ComputeAttention(context, request, response);
  }});
  const auto client = ConnectTo(server.address());
  ASSERT_THAT(client->Attend(OwnedRequest().request, {.priority = -7, .tenant = "team a"}), IsOk());
  EXPECT_EQ(metadata.find("attnd-priority")->second, "-7");
  EXPECT_EQ(metadata.find("attnd-tenant")->second, "team a");
  ASSERT_THAT(client->Attend(OwnedRequest().request), IsOk());
  EXPECT_FALSE(metadata.contains("attnd-priority"));
  EXPECT_FALSE(metadata.contains("attnd-tenant"));
}

TEST(ClientTest, ReturnsTheServersCodeAndMessage) {
  FakeServer server({.attend = [](grpc::ServerContext* /*context*/, const v1::AttendRequest& /*request*/,
                                  v1::AttendResponse* /*response*/) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "key: has 3 dimensions");
  }});
  const auto reply = ConnectTo(server.address())->Attend(OwnedRequest().request);
  EXPECT_EQ(reply.status(), absl::InvalidArgumentError("key: has 3 dimensions"));
}

TEST(ClientTest, FailsFastWhenNobodyListens) {
  const std::string address = UnusedAddress();
  const auto client = ConnectTo(address);
  const Time start = Clock::Real().Now();
  const auto reply = client->Attend(OwnedRequest().request, {.timeout = seconds(120)});
  EXPECT_EQ(reply.status(), absl::UnavailableError("no server at " + address + " (Connection refused)"));
  EXPECT_THAT(client->CheckHealth(), IsError(absl::StatusCode::kUnavailable, "no server at "));
  EXPECT_LT(Clock::Real().Now() - start, seconds(60));
}

TEST(ClientTest, GivesUpAtItsDeadline) {
  std::promise<void> answered;
  FakeServer server({.attend = [&answered](grpc::ServerContext* /*context*/, const v1::AttendRequest& /*request*/,
                                           v1::AttendResponse* /*response*/) {
    answered.get_future().wait();
    return grpc::Status::OK;
  }});
  const auto client = ConnectTo(server.address());
  const auto reply = client->Attend(OwnedRequest().request, {.timeout = milliseconds(60)});
  EXPECT_EQ(reply.status(), absl::DeadlineExceededError("no answer from " + server.address() + " within 60 ms"));
  answered.set_value();
}

TEST(ClientTest, RetriesAnUnavailableServer) {
  Refusing refusing(3, grpc::StatusCode::UNAVAILABLE);
  FakeServer server({.attend = refusing.handler()});
  const auto reply = ConnectTo(server.address())->Attend(OwnedRequest().request);
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->output.values.size(), 2);
  EXPECT_EQ(refusing.calls(), 4);
}

TEST(ClientTest, StopsRetryingAfterTheLastAttempt) {
  Refusing refusing(100, grpc::StatusCode::UNAVAILABLE);
  FakeServer server({.attend = refusing.handler()});
  const auto reply = ConnectTo(server.address(), {.max_attempts = 3, .initial_backoff = milliseconds(1)})
                         ->Attend(OwnedRequest().request);
  EXPECT_EQ(reply.status(), absl::UnavailableError("refused 3"));
  EXPECT_EQ(refusing.calls(), 3);
}

TEST(ClientTest, WaitsAsLongAsAnOverloadedServerSays) {
  Refusing refusing(2, grpc::StatusCode::RESOURCE_EXHAUSTED, "150");
  FakeServer server({.attend = refusing.handler()});
  EXPECT_THAT(ConnectTo(server.address())->Attend(OwnedRequest().request), IsOk());
  const auto times = refusing.times();
  ASSERT_EQ(times.size(), 3);
  EXPECT_GE(times[1] - times[0], milliseconds(150));
  EXPECT_GE(times[2] - times[1], milliseconds(150));
}

TEST(ClientTest, TakesAServersHintOverItsOwnPause) {
  Refusing refusing(1, grpc::StatusCode::UNAVAILABLE, "0");
  FakeServer server({.attend = refusing.handler()});
  const RetryPolicy slow = {.initial_backoff = seconds(100), .max_backoff = seconds(100)};
  EXPECT_THAT(ConnectTo(server.address(), slow)->Attend(OwnedRequest().request), IsOk());
  EXPECT_EQ(refusing.calls(), 2);
}

TEST(ClientTest, DoesNotRetryExhaustionWithoutAHint) {
  Refusing refusing(1, grpc::StatusCode::RESOURCE_EXHAUSTED);
  FakeServer server({.attend = refusing.handler()});
  EXPECT_THAT(ConnectTo(server.address())->Attend(OwnedRequest().request),
              IsError(absl::StatusCode::kResourceExhausted, "refused 1"));
  EXPECT_EQ(refusing.calls(), 1);
}

TEST(ClientTest, DoesNotRetryWhenToldNotTo) {
  for (const std::string hint : {"-1", "soon"}) {
    Refusing refusing(1, grpc::StatusCode::UNAVAILABLE, hint);
    FakeServer server({.attend = refusing.handler()});
    EXPECT_THAT(ConnectTo(server.address())->Attend(OwnedRequest().request),
                IsError(absl::StatusCode::kUnavailable, "refused 1"));
    EXPECT_EQ(refusing.calls(), 1) << hint;
  }
}

TEST(ClientTest, DoesNotRetryOtherFailures) {
  Refusing refusing(1, grpc::StatusCode::INTERNAL, "0");
  FakeServer server({.attend = refusing.handler()});
  EXPECT_THAT(ConnectTo(server.address())->Attend(OwnedRequest().request),
              IsError(absl::StatusCode::kInternal, "refused 1"));
  EXPECT_EQ(refusing.calls(), 1);
}

TEST(ClientTest, FailsAtOnceWhenThePauseWouldOutlastTheDeadline) {
  Refusing refusing(1, grpc::StatusCode::RESOURCE_EXHAUSTED, "3600000");
  FakeServer server({.attend = refusing.handler()});
  const Time start = Clock::Real().Now();
  EXPECT_THAT(ConnectTo(server.address())->Attend(OwnedRequest().request, {.timeout = seconds(1800)}),
              IsError(absl::StatusCode::kResourceExhausted, "refused 1"));
  EXPECT_LT(Clock::Real().Now() - start, seconds(60));
  EXPECT_EQ(refusing.calls(), 1);
}

TEST(ClientTest, ReportsARequestOverTheServersReceiveLimit) {
  FakeServer server({.max_receive_bytes = 64});
  EXPECT_THAT(ConnectTo(server.address())->Attend(OwnedRequest().request),
              IsError(absl::StatusCode::kResourceExhausted, "larger than max"));
}

TEST(ClientTest, FindsAServerThatCameBack) {
  auto first = std::make_unique<FakeServer>(FakeServer::Options{});
  const int port = first->port();
  const auto client = ConnectTo(first->address(), {.initial_backoff = milliseconds(100)});
  ASSERT_THAT(client->Attend(OwnedRequest().request), IsOk());
  first.reset();
  EXPECT_THAT(client->CheckHealth(), IsError(absl::StatusCode::kUnavailable, ""));
  const FakeServer second({.port = port});
  EXPECT_THAT(client->Attend(OwnedRequest().request), IsOk());
}

TEST(ClientTest, ServesManyThreadsAtOnce) {
  FakeServer server({});
  const auto client = ConnectTo(server.address());
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&client, &good] {
      for (int i = 0; i < 25; ++i) good += client->Attend(OwnedRequest().request).ok() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 100);
}

TEST(ClientTest, ReportsHealth) {
  namespace health = grpc::health::v1;
  FakeServer serving({});
  FakeServer draining({.health = health::HealthCheckResponse::NOT_SERVING});
  EXPECT_EQ(*ConnectTo(serving.address())->CheckHealth(), ServingStatus::kServing);
  EXPECT_EQ(*ConnectTo(draining.address())->CheckHealth("attnd.v1.AttentionService"), ServingStatus::kNotServing);
  EXPECT_THAT(ConnectTo(serving.address())->CheckHealth("no.Such"), IsError(absl::StatusCode::kNotFound, "no.Such"));
}

TEST(ClientTest, ReportsWhatTheServerIs) {
  v1::GetInfoResponse info;
  info.set_version("1.2.3");
  info.mutable_limits()->set_max_request_bytes(77);
  FakeServer server({.info = info});
  const auto seen = ConnectTo(server.address())->GetInfo();
  ASSERT_THAT(seen, IsOk());
  EXPECT_EQ(seen->version(), "1.2.3");
  EXPECT_EQ(seen->limits().max_request_bytes(), 77);
}

TEST(ClientTest, RefusesOptionsThatMakeNoSense) {
  EXPECT_THAT(Client::Connect({.address = "localhost"}), IsError(absl::StatusCode::kInvalidArgument, "address: "));
  EXPECT_THAT(Client::Connect({.timeout = seconds(-1)}), IsError(absl::StatusCode::kInvalidArgument, "timeout: "));
  EXPECT_THAT(Client::Connect({.retry = {.max_attempts = 0}}),
              IsError(absl::StatusCode::kInvalidArgument, "max_attempts"));
  const auto client = ConnectTo(UnusedAddress());
  EXPECT_THAT(client->GetInfo({.timeout = seconds(-1)}), IsError(absl::StatusCode::kInvalidArgument, "timeout: "));
  EXPECT_THAT(client->GetInfo({.tenant = "a\nb"}), IsError(absl::StatusCode::kInvalidArgument, "tenant: "));
}

}  // namespace
}  // namespace attnd
