// Everything a server offers beside Attend: info, health, reflection, and a clear no.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "attnd/v1/weights.grpc.pb.h"
#include "core/attention/engine.h"
#include "tests/support/server_fixture.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;

TEST(InfoTest, TellsVersionArithmeticAndLimits) {
  ServerOptions options = TestOptions();
  options.max_request_bytes = 12'345'678;
  options.max_queue_requests = 77;
  options.max_head_dim = 100;
  const RunningServer server(options);
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  ASSERT_TRUE(server.info().GetInfo(&context, {}, &info).ok());
  EXPECT_FALSE(info.version().empty());
  EXPECT_EQ(info.isa(), KernelIsa());
  EXPECT_EQ(info.onednn_version(), OnednnVersion());
  EXPECT_EQ(info.numerics_id(), NumericsId(TestEngine()));
  EXPECT_EQ(info.engine(), EngineName(TestEngine()));
  EXPECT_THAT(info.engines(), testing::ElementsAre("onednn", "fused"));
  EXPECT_EQ(info.workers(), 2);
  EXPECT_EQ(info.limits().max_request_bytes(), 12'345'678);
  EXPECT_EQ(info.limits().max_response_bytes(), options.max_response_bytes);
  EXPECT_EQ(info.limits().max_head_dim(), 100);
  EXPECT_EQ(info.limits().max_queue_requests(), 77);
  EXPECT_EQ(info.limits().max_queue_bytes(), options.max_queue_bytes);
  EXPECT_EQ(info.limits().max_queue_seconds(), options.max_queue_seconds);
  EXPECT_GT(info.worker_flops_per_second(), 1e6);
  EXPECT_EQ(info.data_types_size(), 3);
  EXPECT_GT(info.uptime_seconds(), 0);
}

struct CheckResult {
  grpc::Status status;
  HealthCheckResponse::ServingStatus health = HealthCheckResponse::UNKNOWN;
};

CheckResult Check(const RunningServer& server, const std::string& service) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  CheckResult result;
  result.status = server.health().Check(&context, request, &response);
  result.health = response.status();
  return result;
}

TEST(HealthTest, ChecksTheServerAndEachServedService) {
  const RunningServer server;
  for (const char* service : {"", "attnd.v1.AttentionService", "attnd.v1.ServerService", "attnd.v1.WeightsService"}) {
    const CheckResult result = Check(server, service);
    EXPECT_TRUE(result.status.ok()) << service;
    EXPECT_EQ(result.health, HealthCheckResponse::SERVING) << service;
  }
}

TEST(HealthTest, DoesNotKnowOtherServices) {
  const RunningServer server;
  const CheckResult result = Check(server, "no.such\nService");
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(result.status.error_message(), HasSubstr("no.such\\x0aService"));
}

// A Watch that is read one status at a time.
class Watch {
 public:
  Watch(const RunningServer& server, const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    reader_ = server.health().Watch(&context_, request);
  }
  ~Watch() { context_.TryCancel(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  HealthCheckResponse::ServingStatus Next() {
    HealthCheckResponse response;
    EXPECT_TRUE(reader_->Read(&response));
    return response.status();
  }
  grpc::Status End() {
    HealthCheckResponse response;
    EXPECT_FALSE(reader_->Read(&response));
    return reader_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader_;
};

TEST(HealthTest, WatchersLearnOfDrainingAndOfTheEnd) {
  RunningServer server;
  Watch whole(server, "");
  Watch service(server, "attnd.v1.AttentionService");
  Watch unknown(server, "no.such.Service");
  EXPECT_EQ(whole.Next(), HealthCheckResponse::SERVING);
  EXPECT_EQ(service.Next(), HealthCheckResponse::SERVING);
  EXPECT_EQ(unknown.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  std::thread drain([&] { EXPECT_TRUE(server.server().Drain()); });
  EXPECT_EQ(whole.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(service.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(whole.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(service.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(unknown.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST(HealthTest, ForgetsWatchersThatGo) {
  RunningServer server;
  for (int i = 0; i < 50; ++i) {
    Watch watch(server, "");
    EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
    watch.Cancel();
    EXPECT_FALSE(watch.End().ok());
  }
  EXPECT_TRUE(Eventually([&] {
    return Metric(server.http(),
                  "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Watch\","
                  "grpc_service=\"grpc.health.v1.Health\",grpc_type=\"server_stream\"}") == 50;
  }));
  EXPECT_TRUE(server.server().Drain());
}

TEST(UnservedTest, NamesTheMethodThatIsNotServed) {
  const RunningServer server;
  for (const char* method : {"/attnd.v1.AttentionService/NoSuchMethod", "/no.such.Service/AtAll"}) {
    const grpc::Status status = CallRaw(server.channel(), method, "");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
    EXPECT_THAT(status.error_message(), HasSubstr(method));
  }
  EXPECT_EQ(Metric(server.http(),
                   "grpc_server_handled_total{grpc_code=\"Unimplemented\",grpc_method=\"unknown\","
                   "grpc_service=\"unknown\",grpc_type=\"unary\"}"),
            2);
}

TEST(UnservedTest, EndsStreamsThatAreNotServedYet) {
  const RunningServer server;
  grpc::ClientContext context;
  const auto stream = server.attention().AttendStream(&context);
  v1::AttendStreamRequest request;
  *request.mutable_request() = SquareRequest(4096);
  stream->Write(request);
  stream->WritesDone();
  v1::AttendStreamResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("AttendStream"));
}

// One question to the reflection service, in bytes: its messages are not installed.
std::string Reflect(const RunningServer& server, const std::string& question) {
  grpc::GenericStub stub(server.channel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  grpc::CompletionQueue queue;
  const auto step = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return ok;
  };
  auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  EXPECT_TRUE(step());
  const grpc::Slice slice(question);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  EXPECT_TRUE(step());
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  EXPECT_TRUE(step());
  grpc::Status status;
  call->Finish(&status, nullptr);
  step();
  queue.Shutdown();
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::Slice bytes;
  EXPECT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

TEST(ReflectionTest, ListsEveryServiceOfTheContract) {
  const RunningServer server;
  const std::string list_services = {0x3a, 0};
  const std::string services = Reflect(server, list_services);
  for (const char* service : {"attnd.v1.AttentionService", "attnd.v1.WeightsService", "attnd.v1.ServerService",
                              "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_THAT(services, HasSubstr(service));
  }
}

TEST(ReflectionTest, DescribesThem) {
  const RunningServer server;
  for (const std::string symbol : {"attnd.v1.AttentionService", "attnd.v1.WeightsService", "grpc.health.v1.Health"}) {
    std::string question = {0x22, static_cast<char>(symbol.size())};
    question += symbol;
    const std::string file = symbol.substr(symbol.rfind('.') + 1);
    EXPECT_THAT(Reflect(server, question), HasSubstr(file));
  }
}

}  // namespace
}  // namespace attnd
