// Weights kept by a real server: uploads that are right, wrong, slow, gone or too many.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "attnd/v1/weights.grpc.pb.h"
#include "core/linear/packed_weights.h"
#include "proto/codec_weights.h"
#include "tests/support/sanitizers.h"
#include "tests/support/server_fixture.h"
#include "tests/support/weights_case.h"
#include "tests/support/wire.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Role = WeightRole;
using Request = v1::RegisterWeightsRequest;

constexpr int64_t kWidth = 32;

class Square : public WeightsCase {
 public:
  explicit Square(uint32_t seed, int64_t width = kWidth) { FillSquare(*this, width, seed); }
};

int64_t SetBytes() { return PackedWeights::BytesFor(Square(0).Shapes()); }

ServerOptions ThreeSets() {
  ServerOptions options = TestOptions();
  options.weights_budget = 3 * SetBytes();
  return options;
}

Request HeaderOf(const WeightsCase& weights, const std::string& alias = "") {
  Request request;
  EXPECT_TRUE(
      request.ParseFromString(codec::ToString(codec::EncodeUploadHeader(weights.weights(), weights.Id(), alias))));
  return request;
}

Request ChunkOf(const std::string& tensor, const std::string& data) {
  Request request;
  request.mutable_chunk()->set_tensor(tensor);
  request.mutable_chunk()->set_data(data);
  return request;
}

// Header and chunks of `size` bytes.
std::vector<Request> UploadOf(const WeightsCase& weights, const std::string& alias = "", size_t size = 1000) {
  std::vector<Request> requests = {HeaderOf(weights, alias)};
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.weights().tensors[info.role];
    if (!tensor.has_value()) continue;
    const std::string bytes = codec::ToString(tensor->bytes);
    for (size_t at = 0; at < bytes.size(); at += size) {
      requests.push_back(ChunkOf(at == 0 ? info.name : "", bytes.substr(at, size)));
    }
  }
  return requests;
}

struct Outcome {
  grpc::Status status;
  v1::RegisterWeightsResponse response;
};

class WeightsTest : public ::testing::Test {
 protected:
  explicit WeightsTest(const ServerOptions& options = ThreeSets())
      : server_(options), stub_(v1::WeightsService::NewStub(server_.channel())) {}

  Outcome Send(const std::vector<Request>& requests) {
    Outcome outcome;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    const auto writer = stub_->RegisterWeights(&context, &outcome.response);
    for (const Request& request : requests) {
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    outcome.status = writer->Finish();
    return outcome;
  }
  // The id; "" and a failure if it went wrong.
  std::string Register(const WeightsCase& weights, const std::string& alias = "") {
    const Outcome outcome = Send(UploadOf(weights, alias));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.error_message();
    return outcome.response.weights_id();
  }
  void ExpectInvalid(const std::vector<Request>& requests, const std::string& field, const std::string& message) {
    const Outcome outcome = Send(requests);
    EXPECT_EQ(outcome.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field;
    EXPECT_EQ(BadFieldOf(outcome.status), field);
    EXPECT_THAT(outcome.status.error_message(), HasSubstr(message));
  }

  // Calls one of the small methods.
  template <typename Response, typename Request>
  grpc::Status Call(grpc::Status (v1::WeightsService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    return (stub_.get()->*method)(&context, request, response);
  }
  v1::ListWeightsResponse List() {
    v1::ListWeightsResponse response;
    EXPECT_TRUE(Call(&v1::WeightsService::Stub::ListWeights, v1::ListWeightsRequest(), &response).ok());
    return response;
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    const v1::ListWeightsResponse list = List();
    for (const auto& info : list.weights()) ids.push_back(info.weights_id());
    return ids;
  }
  grpc::Status Describe(const std::string& name, v1::DescribeWeightsResponse* response) {
    v1::DescribeWeightsRequest request;
    request.set_weights(name);
    return Call(&v1::WeightsService::Stub::DescribeWeights, request, response);
  }
  grpc::Status Delete(const std::string& name) {
    v1::DeleteWeightsRequest request;
    v1::DeleteWeightsResponse response;
    request.set_weights(name);
    return Call(&v1::WeightsService::Stub::DeleteWeights, request, &response);
  }
  grpc::Status SetAlias(const std::string& name, const std::string& alias) {
    v1::SetWeightsAliasRequest request;
    v1::SetWeightsAliasResponse response;
    request.set_weights(name);
    request.set_alias(alias);
    return Call(&v1::WeightsService::Stub::SetWeightsAlias, request, &response);
  }
  double Metric(const std::string& series) { return attnd::Metric(server_.http(), series); }

  RunningServer server_;
  std::unique_ptr<v1::WeightsService::Stub> stub_;
  const Square a_{1};
  const Square b_{2};
};

TEST_F(WeightsTest, RegistersDescribesAndDeletes) {
  WeightsCase layer(Orientation::kInOut);
  FillSquare(layer, 8, 1);
  layer.Fill(Role::kAttentionNormScale, {8}).Fill(Role::kFfnNormScale, {8});
  layer.Fill(Role::kUp, {8, 16}).Fill(Role::kDown, {16, 8});
  const Outcome outcome = Send(UploadOf(layer, "model.layer.0"));
  ASSERT_TRUE(outcome.status.ok()) << outcome.status.error_message();
  EXPECT_EQ(outcome.response.weights_id(), layer.Id());
  EXPECT_FALSE(outcome.response.existed());

  v1::DescribeWeightsResponse described;
  ASSERT_TRUE(Describe("model.layer.0", &described).ok());
  EXPECT_EQ(described.info().weights_id(), layer.Id());
  EXPECT_THAT(described.info().aliases(), ElementsAre("model.layer.0"));
  EXPECT_EQ(described.info().bytes(), PackedWeights::BytesFor(layer.Shapes()));
  EXPECT_EQ(described.info().orientation(), v1::ProjectionWeights::ORIENTATION_IN_OUT);
  ASSERT_EQ(described.info().tensors_size(), 7);
  EXPECT_EQ(described.info().tensors(5).name(), "block.w_up");
  EXPECT_THAT(described.info().tensors(5).shape(), ElementsAre(8, 16));
  EXPECT_EQ(List().resident_bytes(), described.info().bytes());
  EXPECT_EQ(List().budget_bytes(), 3 * SetBytes());
  EXPECT_EQ(Metric("attnd_weights_sets"), 1);
  EXPECT_EQ(Metric("attnd_weights_resident_bytes"), static_cast<double>(described.info().bytes()));

  EXPECT_TRUE(Delete(layer.Id()).ok());
  EXPECT_THAT(Ids(), IsEmpty());
  for (const grpc::Status& status :
       {Describe("model.layer.0", &described), Delete("model.layer.0"), SetAlias("model.layer.0", "x")}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_THAT(status.error_message(), HasSubstr("model.layer.0"));
  }
}

TEST_F(WeightsTest, KnownWeightsAreAnsweredAtTheHeader) {
  Register(a_);
  Outcome outcome;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const auto writer = stub_->RegisterWeights(&context, &outcome.response);
  writer->Write(HeaderOf(a_, "again"));
  // No chunk, no end.
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(outcome.response.existed());
  EXPECT_EQ(outcome.response.weights_id(), a_.Id());
  EXPECT_THAT(List().weights(0).aliases(), ElementsAre("again"));
}

TEST_F(WeightsTest, NamesWhatIsWrongWithAnUpload) {
  const std::vector<Request> good = UploadOf(a_);
  const std::string query = codec::ToString(a_.weights().tensors[Role::kQuery]->bytes);
  ExpectInvalid({}, "part", "before a header came");
  ExpectInvalid({Request()}, "part", "header or chunk is required");
  ExpectInvalid({good[1]}, "part", "the header comes first");
  ExpectInvalid({good[0], good[0]}, "part", "second header");
  ExpectInvalid({good[0], ChunkOf("", "x")}, "chunk.tensor", "first chunk must name");
  ExpectInvalid({good[0], ChunkOf("w_output", "x")}, "chunk.tensor", "'w_output', which the header does not have");
  ExpectInvalid({good[0], ChunkOf("w_query", "x"), ChunkOf("w_key", "x")}, "chunk.tensor", "one after the other");
  ExpectInvalid({good[0], ChunkOf("w_query", query), ChunkOf("w_key", query), ChunkOf("w_query", "x")}, "chunk.tensor",
                "comes once");
  ExpectInvalid({good[0], ChunkOf("w_query", query + "x")}, "chunk.data", "has 4097 bytes; 4096 of 4096 are missing");
  ExpectInvalid({good.begin(), good.end() - 1}, "chunk", "bytes of w_value");
  std::vector<Request> other = good;
  other.back().mutable_chunk()->mutable_data()->back() ^= 1;
  ExpectInvalid(other, "header.weights_id", "the content that came has");

  Request header = good[0];
  header.mutable_header()->set_weights_id("abc");
  ExpectInvalid({header}, "header.weights_id", "64 hexadecimal digits");
  header = good[0];
  header.mutable_header()->set_alias("a b");
  ExpectInvalid({header}, "header.alias", "letters, digits");
  header = good[0];
  header.mutable_header()->mutable_weights()->mutable_w_key()->set_data("1234");
  ExpectInvalid({header}, "header.weights.w_key", "they come in chunks");
  header = good[0];
  header.mutable_header()->mutable_weights()->mutable_w_key()->set_shape(0, int64_t{1} << 62);
  ExpectInvalid({header}, "header.weights.w_key.shape", "elements; so many are allowed");
  EXPECT_THAT(Ids(), IsEmpty());

  const Outcome large = Send({HeaderOf(Square(1, 2 * kWidth))});
  EXPECT_EQ(large.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(large.status.error_message(), HasSubstr("--weights-budget"));
  EXPECT_EQ(Register(a_), a_.Id());
}

TEST_F(WeightsTest, EvictsTheLeastRecentlyUsed) {
  Register(a_);
  Register(b_);
  const Square c(3);
  const Square d(4);
  Register(c);
  Register(a_);
  Register(d);
  EXPECT_THAT(Ids(), ElementsAre(d.Id(), a_.Id(), c.Id()));
  EXPECT_EQ(Metric("attnd_weights_evictions_total"), 1);
  EXPECT_EQ(List().resident_bytes(), 3 * SetBytes());
}

TEST_F(WeightsTest, AliasesMove) {
  Register(a_, "x");
  Register(b_, "x");
  v1::DescribeWeightsResponse described;
  ASSERT_TRUE(Describe("x", &described).ok());
  EXPECT_EQ(described.info().weights_id(), b_.Id());
  ASSERT_TRUE(SetAlias(a_.Id(), "x").ok());
  ASSERT_TRUE(Describe("x", &described).ok());
  EXPECT_EQ(described.info().weights_id(), a_.Id());
  const grpc::Status bad = SetAlias("x", "\n");
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(BadFieldOf(bad), "alias");
}

// An upload that has begun and does not go on.
class Stalled {
 public:
  Stalled(v1::WeightsService::Stub& stub, const WeightsCase& weights) : writer_(Begin(stub)) {
    EXPECT_TRUE(writer_->Write(HeaderOf(weights)));
    EXPECT_TRUE(writer_->Write(ChunkOf("w_query", "1234")));
  }
  ~Stalled() { context_.TryCancel(); }
  Stalled(const Stalled&) = delete;
  Stalled& operator=(const Stalled&) = delete;

  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() { return writer_->Finish(); }

 private:
  std::unique_ptr<grpc::ClientWriter<Request>> Begin(v1::WeightsService::Stub& stub) {
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    return stub.RegisterWeights(&context_, &response_);
  }

  grpc::ClientContext context_;
  v1::RegisterWeightsResponse response_;
  std::unique_ptr<grpc::ClientWriter<Request>> writer_;
};

TEST_F(WeightsTest, UploadsInProgressAreBounded) {
  std::vector<std::unique_ptr<Stalled>> stalled;
  for (uint32_t i = 0; i < 3; ++i) stalled.push_back(std::make_unique<Stalled>(*stub_, Square(i + 10)));
  Outcome refused;
  ASSERT_TRUE(Eventually([&] {
    refused = Send({HeaderOf(a_)});
    return refused.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
  }));
  EXPECT_THAT(refused.status.error_message(), HasSubstr("uploads in progress: 3 of 64"));
  EXPECT_FALSE(refused.status.error_details().empty());

  // One that goes makes room.
  stalled.front()->Cancel();
  EXPECT_EQ(stalled.front()->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return Send(UploadOf(a_)).status.ok(); }));
}

TEST_F(WeightsTest, DrainingEndsUploads) {
  Stalled stalled(*stub_, a_);
  grpc::ClientContext context;
  v1::RegisterWeightsResponse response;
  const auto silent = stub_->RegisterWeights(&context, &response);
  EXPECT_TRUE(server_.server().Drain());
  const grpc::Status status = stalled.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("draining"));
  EXPECT_EQ(silent->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

class QuickWeightsTest : public WeightsTest {
 protected:
  static ServerOptions Quick() {
    ServerOptions options = ThreeSets();
    options.upload_idle = kIdle;
    return options;
  }
  QuickWeightsTest() : WeightsTest(Quick()) {}

  // Sanitized servers are slow to take a chunk.
  static constexpr std::chrono::milliseconds kIdle{kSanitized ? 1000 : 100};
};

TEST_F(QuickWeightsTest, UploadsWithoutProgressAreEnded) {
  Stalled stalled(*stub_, a_);
  const grpc::Status status = stalled.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("no chunk came for " + std::to_string(kIdle.count()) + " ms"));
  EXPECT_EQ(Register(a_), a_.Id());
}

TEST_F(WeightsTest, ManyUploadAtOnce) {
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 10; ++t) {
    threads.emplace_back([this, t, &refused] {
      const Square weights(t % 5 + 20);
      for (int tries = 0; tries < 1000; ++tries) {
        const Outcome outcome = Send(UploadOf(weights, "t" + std::to_string(t), 100));
        if (outcome.status.ok()) {
          EXPECT_EQ(outcome.response.weights_id(), weights.Id());
          return;
        }
        ASSERT_EQ(outcome.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << outcome.status.error_message();
        ++refused;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      ADD_FAILURE() << "never admitted";
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(List().resident_bytes(), 3 * SetBytes());
  EXPECT_EQ(List().weights_size(), 3);
  EXPECT_TRUE(server_.server().Drain());
}

}  // namespace
}  // namespace attnd
