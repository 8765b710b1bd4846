// Attention over parts of the keys, merged by the server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "client/client.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

std::unique_ptr<Client> ConnectTo(const RunningServer& server) {
  return *Client::Connect({.address = server.address(), .timeout = kPatience});
}

TensorView ViewOf(const codec::ReplyTensor& tensor) {
  return {DataType::kFloat32, tensor.shape, Fragments(std::as_bytes(std::span(tensor.values)))};
}

// Keys [begin, end) of a problem with one entry and one key head.
AttentionRequest PartOf(const AttentionProblem& problem, int64_t begin, int64_t end) {
  AttentionRequest request = problem.Request();
  for (TensorView* tensor : {&request.key, &request.value}) {
    const auto row = static_cast<size_t>(tensor->shape[3]) * sizeof(float);
    const auto all = tensor->bytes.pieces()[0];
    tensor->shape[2] = end - begin;
    tensor->bytes = Fragments(all.subspan(static_cast<size_t>(begin) * row, static_cast<size_t>(end - begin) * row));
  }
  request.outputs.lse = true;
  return request;
}

class MergeRpcTest : public ::testing::Test {
 protected:
  RunningServer server_;
  std::unique_ptr<Client> client_ = ConnectTo(server_);
};

TEST_F(MergeRpcTest, PartsMakeTheWhole) {
  ProblemSpec spec;
  spec.dims = {1, 4, 1, 37, 1000, 64, 48};
  spec.outputs.lse = true;
  const AttentionProblem problem(spec);
  const auto whole = client_->Attend(problem.Request());
  ASSERT_THAT(whole, IsOk());
  std::vector<codec::AttendReply> replies;
  const int64_t cuts[] = {0, 1, 1, 340, 999, 1000};
  for (size_t i = 0; i + 1 < std::size(cuts); ++i) {
    auto reply = client_->Attend(PartOf(problem, cuts[i], cuts[i + 1]));
    ASSERT_THAT(reply, IsOk());
    replies.push_back(*std::move(reply));
  }
  MergeInputs inputs;
  for (const auto& reply : replies) inputs.parts.push_back({ViewOf(reply.output), ViewOf(*reply.lse)});
  const auto merged = client_->Merge(inputs);
  ASSERT_THAT(merged, IsOk());
  EXPECT_EQ(merged->output.shape, whole->output.shape);
  EXPECT_EQ(merged->lse.shape, whole->lse->shape);
  float max_value = 0;
  for (const float v : problem.value) max_value = std::max(max_value, std::abs(v));
  for (size_t i = 0; i < whole->output.values.size(); ++i) {
    ASSERT_NEAR(merged->output.values[i], whole->output.values[i], 1e-6F * max_value) << i;
  }
  for (size_t i = 0; i < whole->lse->values.size(); ++i) {
    ASSERT_NEAR(merged->lse.values[i], whole->lse->values[i], 2e-6) << i;
  }
}

TEST_F(MergeRpcTest, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(client_->Merge({}), IsError(absl::StatusCode::kInvalidArgument, "parts: is empty"));
}

TEST_F(MergeRpcTest, AnswersInTheFormOfTheFirstPart) {
  v1::MergeRequest request;
  for (const float x : {2.0F, 4.0F}) {
    v1::PartialResult& part = *request.add_parts();
    for (v1::Tensor* tensor : {part.mutable_output(), part.mutable_lse()}) tensor->add_values(x);
    part.mutable_lse()->set_values(0, 0);
    for (const int extent : {1, 1}) part.mutable_output()->add_shape(extent);
    for (const int extent : {1, 1, 1}) part.mutable_lse()->add_shape(extent);
  }
  grpc::ClientContext context;
  v1::MergeResponse response;
  const grpc::Status status = server_.attention().Merge(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.output().values_size(), 1);
  EXPECT_NEAR(response.output().values(0), 3, 1e-6);
  EXPECT_NEAR(response.lse().values(0), std::log(2.0), 1e-6);
}

TEST_F(MergeRpcTest, IsCountedLikeOtherCalls) {
  (void)client_->Merge({});
  EXPECT_TRUE(Eventually([&] {
    return Metric(server_.http(),
                  "grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"Merge\","
                  "grpc_service=\"attnd.v1.AttentionService\",grpc_type=\"unary\"}") == 1;
  }));
}

}  // namespace
}  // namespace attnd
