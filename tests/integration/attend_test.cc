// Attention through a real server and real sockets: the numbers, the forms, the clients.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/attention/reference.h"
#include "tests/support/attention_problem.h"
#include "tests/support/compare.h"
#include "tests/support/server_fixture.h"

namespace attnd {
namespace {

v1::AttendResponse Attend(const RunningServer& server, const v1::AttendRequest& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  v1::AttendResponse response;
  const grpc::Status status = server.attention().Attend(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

// The response's heads-first output and other results, next to the oracle's.
void ExpectRight(const AttentionProblem& problem, const v1::AttendResponse& response) {
  EngineResult result;
  result.output = FloatsOf(response.output());
  result.lse = FloatsOf(response.lse());
  result.weights = FloatsOf(response.weights());
  ExpectMatchesReference(problem, result);
}

std::vector<int64_t> ShapeOf(const v1::Tensor& tensor) { return {tensor.shape().begin(), tensor.shape().end()}; }

TEST(AttendTest, AgreesWithTheReferenceForManyShapes) {
  const RunningServer server;
  const std::vector<Dims> shapes = {{1, 1, 1, 1, 1, 1, 1},     {1, 1, 1, 49, 257, 64, 64}, {2, 4, 2, 17, 33, 40, 24},
                                    {3, 6, 1, 100, 5, 3, 128}, {1, 8, 8, 1, 1025, 80, 80}, {2, 2, 2, 255, 256, 8, 8}};
  uint64_t seed = 1;
  for (const Dims& dims : shapes) {
    ProblemSpec spec;
    spec.dims = dims;
    spec.outputs = {.lse = true, .weights = WeightsOutput()};
    spec.seed = seed++;
    SCOPED_TRACE(spec.ToString());
    const AttentionProblem problem(spec);
    const v1::AttendResponse response = Attend(server, ToProto(problem));
    ExpectRight(problem, response);
    EXPECT_EQ(ShapeOf(response.output()), OutputShape(problem.plan()));
    EXPECT_EQ(ShapeOf(response.lse()), LseShape(problem.plan()));
    EXPECT_EQ(ShapeOf(response.weights()), WeightsShape(problem.plan()));
  }
}

TEST(AttendTest, AppliesCausalMasksByPosition) {
  const RunningServer server;
  for (const Alignment alignment : {Alignment::kTopLeft, Alignment::kBottomRight}) {
    ProblemSpec spec;
    spec.dims = {2, 4, 2, 60, 100, 16, 16};
    spec.options.causal = true;
    spec.options.alignment = alignment;
    spec.outputs = {.lse = true, .weights = WeightsOutput()};
    const AttentionProblem problem(spec);
    ExpectRight(problem, Attend(server, ToProto(problem)));
  }
}

TEST(AttendTest, AnswersInTheFormOfTheQuery) {
  const RunningServer server;
  const v1::AttendRequest as_data = SmallRequest();
  v1::AttendRequest as_values = as_data;
  for (v1::Tensor* tensor : {as_values.mutable_query(), as_values.mutable_key(), as_values.mutable_value()}) {
    for (const float x : FloatsOf(*tensor)) tensor->add_values(x);
    tensor->clear_data();
  }
  const v1::AttendResponse data = Attend(server, as_data);
  const v1::AttendResponse values = Attend(server, as_values);
  EXPECT_FALSE(data.output().data().empty());
  EXPECT_EQ(data.output().values_size(), 0);
  EXPECT_TRUE(values.output().data().empty());
  EXPECT_TRUE(SameBits(FloatsOf(values.output()), FloatsOf(data.output()), ShapeOf(data.output())));
}

TEST(AttendTest, SaysWhatWasDoneAndHowLongItTook) {
  const RunningServer server;
  ProblemSpec spec;
  spec.dims = {1, 2, 2, 10, 4, 8, 8};
  spec.options.causal = true;
  spec.options.alignment = Alignment::kOffset;
  spec.options.q_offset = {-3};
  spec.options.k_offset = {0};
  const v1::AttendResponse response = Attend(server, ToProto(AttentionProblem(spec)));
  EXPECT_GT(response.timings().compute_seconds(), 0);
  EXPECT_GE(response.timings().queue_seconds(), 0);
  EXPECT_GT(response.counts().tiles(), 0);
  EXPECT_EQ(response.counts().empty_rows(), 2 * 3);
  EXPECT_EQ(response.counts().non_finite_rows(), 0);
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  ASSERT_TRUE(server.info().GetInfo(&context, {}, &info).ok());
  EXPECT_EQ(response.numerics_id(), info.numerics_id());
}

TEST(AttendTest, AnswersEmptyProblems) {
  const RunningServer server;
  v1::AttendRequest request;
  for (v1::Tensor* tensor : {request.mutable_query(), request.mutable_key(), request.mutable_value()}) {
    for (const int64_t extent : {0, 1, 3, 4}) tensor->add_shape(extent);
  }
  const v1::AttendResponse response = Attend(server, request);
  EXPECT_EQ(ShapeOf(response.output()), (std::vector<int64_t>{0, 1, 3, 4}));
  EXPECT_TRUE(response.output().data().empty());
}

TEST(AttendTest, ListensOnSeveralAddressesAndUnixSockets) {
  ServerOptions options = TestOptions();
  const std::string path = testing::TempDir() + "attnd_attend_test.sock";
  options.listen.push_back("unix:" + path);
  RunningServer server(options);
  ASSERT_EQ(server.server().grpc_addresses().size(), 2U);
  EXPECT_EQ(server.server().grpc_addresses()[1], "unix:" + path);
  for (const std::string& address : server.server().grpc_addresses()) {
    const auto stub = v1::AttentionService::NewStub(ConnectTo(address));
    grpc::ClientContext context;
    v1::AttendResponse response;
    EXPECT_TRUE(stub->Attend(&context, SmallRequest(), &response).ok()) << address;
  }
}

TEST(AttendTest, GivesEveryOneOfManyClientsItsOwnAnswerWithTheSameBits) {
  const RunningServer server;
  constexpr int kClients = 8;
  constexpr int kRounds = 12;
  std::vector<v1::AttendRequest> requests;
  std::vector<std::vector<float>> alone;
  for (int i = 0; i < kClients; ++i) {
    ProblemSpec spec;
    spec.dims = {1, 2, 1, 20 + 31 * i, 300 - 17 * i, 32, 16};
    spec.seed = static_cast<uint64_t>(i);
    requests.push_back(ToProto(AttentionProblem(spec)));
    alone.push_back(FloatsOf(Attend(server, requests.back()).output()));
  }
  std::vector<std::thread> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      const auto stub = v1::AttentionService::NewStub(ConnectTo(server.address()));
      for (int round = 0; round < kRounds; ++round) {
        grpc::ClientContext context;
        v1::AttendResponse response;
        ASSERT_TRUE(stub->Attend(&context, requests[i], &response).ok());
        EXPECT_TRUE(SameBits(FloatsOf(response.output()), alone[i], ShapeOf(response.output())));
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST(AttendTest, GivesMemoryBackWhenIdle) {
  ServerOptions options = TestOptions();
  options.idle_trim = std::chrono::milliseconds(40);
  const RunningServer server(options);
  for (int round = 0; round < 2; ++round) {
    Attend(server, SmallRequest());
    EXPECT_TRUE(Eventually([&] { return Metric(server.http(), "attnd_pool_bytes{state=\"free\"}") == 0; }));
  }
}

TEST(AttendTest, SendsLargeResponsesWhole) {
  const RunningServer server;
  ProblemSpec spec;
  spec.dims = {1, 1, 1, 2000, 1500, 4, 4};
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  const AttentionProblem problem(spec);
  const v1::AttendResponse response = Attend(server, ToProto(problem));
  EXPECT_EQ(response.weights().data().size(), sizeof(float) * 2000 * 1500);
  ExpectRight(problem, response);
}

}  // namespace
}  // namespace attnd
