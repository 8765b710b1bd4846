// Weights from files to a server: at its start, by the client library and by attnctl.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "attnd/v1/weights.grpc.pb.h"
#include "client/client.h"
#include "client/push_weights.h"
#include "core/linear/packed_weights.h"
#include "core/linear/safetensors.h"
#include "proto/codec_weights.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"
#include "tests/support/weights_case.h"
#include "tests/support/wire.h"

namespace attnd {
namespace {

using ::testing::HasSubstr;
using enum absl::StatusCode;

// A file of Llama's names with this many layers, whose weights follow from `seed`.
std::string WriteLlama(const std::string& name, int layers, uint32_t seed = 1) {
  std::deque<WeightsCase> cases;
  std::vector<StoredTensor> tensors;
  for (int layer = 0; layer < layers; ++layer) {
    WeightsCase& weights = cases.emplace_back();
    FillSquare(weights, 16, seed + static_cast<uint32_t>(layer));
    weights.Fill(WeightRole::kOutput, {16, 16}, seed);
    const std::pair<WeightRole, const char*> names[] = {{WeightRole::kQuery, "q_proj"},
                                                        {WeightRole::kKey, "k_proj"},
                                                        {WeightRole::kValue, "v_proj"},
                                                        {WeightRole::kOutput, "o_proj"}};
    for (const auto& [role, part] : names) {
      const TensorView& tensor = *weights.weights().tensors[role];
      tensors.push_back({"model.layers." + std::to_string(layer) + ".self_attn." + part + ".weight", StoredType::kF32,
                         tensor.shape, tensor.bytes.pieces()[0]});
    }
  }
  const std::array<float, 2> embedding = {};
  tensors.push_back({"model.embed_tokens.weight", StoredType::kF32, {1, 2}, std::as_bytes(std::span(embedding))});
  const std::string path = TempPath(name);
  EXPECT_THAT(WriteSafetensors(path, tensors, {}), IsOk());
  return path;
}

std::unique_ptr<Client> ClientOf(const RunningServer& server) {
  return *Client::Connect({.address = server.address(), .timeout = kPatience});
}

TEST(WeightsClientTest, RegistersInChunksAndOnce) {
  const RunningServer server;
  const auto client = ClientOf(server);
  WeightsCase large;
  FillSquare(large, 1000, 1);
  const auto registered = client->RegisterWeights(large.weights(), "large");
  ASSERT_THAT(registered, IsOk());
  EXPECT_EQ(registered->id, large.Id());
  EXPECT_FALSE(registered->existed);
  for (int i = 0; i < 20; ++i) {
    const auto again = client->RegisterWeights(large.weights());
    ASSERT_THAT(again, IsOk());
    EXPECT_TRUE(again->existed);
  }
  const auto info = client->DescribeWeights("large");
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->weights_id(), large.Id());
  EXPECT_THAT(client->SetWeightsAlias("large", "other"), IsOk());
  EXPECT_EQ(client->ListWeights()->weights(0).aliases_size(), 2);
  EXPECT_EQ(*client->DeleteWeights("other"), large.Id());
  EXPECT_THAT(client->DescribeWeights("large"), IsError(kNotFound, "large"));
  EXPECT_THAT(client->RegisterWeights(WeightsCase().weights()), NamesField(kInvalidArgument, "weights.w_query"));
  EXPECT_THAT(client->RegisterWeights(large.weights(), "a b"), NamesField(kInvalidArgument, "alias"));
}

TEST(WeightsClientTest, ServersWords) {
  ServerOptions options = TestOptions();
  options.weights_budget = 2000;
  const RunningServer server(options);
  WeightsCase weights;
  FillSquare(weights, 200, 1);
  EXPECT_THAT(ClientOf(server)->RegisterWeights(weights.weights()), IsError(kInvalidArgument, "--weights-budget"));
  const auto nobody = Client::Connect({.address = "127.0.0.1:1", .retry = {.max_attempts = 1}});
  EXPECT_THAT((*nobody)->RegisterWeights(weights.weights()), IsError(kUnavailable, "no server at 127.0.0.1:1"));
}

TEST(WeightsClientTest, ComesBackWhenThereIsRoom) {
  ServerOptions options = TestOptions();
  options.upload_idle = std::chrono::milliseconds(300);
  WeightsCase weights;
  FillSquare(weights, 200, 1);
  options.weights_budget = PackedWeights::BytesFor(weights.Shapes());
  const RunningServer server(options);
  // One that stalls has all the room until the server ends it.
  const auto stub = v1::WeightsService::NewStub(server.channel());
  grpc::ClientContext context;
  v1::RegisterWeightsResponse response;
  const auto stalled = stub->RegisterWeights(&context, &response);
  v1::RegisterWeightsRequest header;
  WeightsCase other;
  FillSquare(other, 200, 2);
  ASSERT_TRUE(header.ParseFromString(codec::ToString(codec::EncodeUploadHeader(other.weights(), other.Id(), ""))));
  ASSERT_TRUE(stalled->Write(header));
  header.mutable_header()->set_weights_id(weights.Id());
  ASSERT_TRUE(Eventually([&] {
    grpc::ClientContext probe;
    const auto writer = stub->RegisterWeights(&probe, &response);
    writer->Write(header);
    writer->WritesDone();
    return writer->Finish().error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED;
  }));
  EXPECT_THAT(ClientOf(server)->RegisterWeights(weights.weights()), IsOk());
  EXPECT_EQ(stalled->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST(WeightsClientTest, TellsIfAModelDoesNotFit) {
  ServerOptions options = TestOptions();
  options.weights_budget = int64_t{10} << 10;
  const RunningServer server(options);
  EXPECT_THAT(PushWeights(*ClientOf(server), {.path = WriteLlama("budget.safetensors", 5)}),
              IsError(kResourceExhausted, "of the 5 sets had to make room for the others"));
}

TEST(PreloadTest, HasWeightsFromTheStart) {
  ServerOptions options = TestOptions();
  options.weights = {WriteLlama("one.safetensors", 2), "two=" + WriteLlama("2.safetensors", 1, 7)};
  const RunningServer server(options);
  const auto client = ClientOf(server);
  EXPECT_EQ(client->ListWeights()->weights_size(), 3);
  for (const char* alias : {"llama.layer.0", "llama.layer.1", "two.layer.0"}) {
    EXPECT_THAT(client->DescribeWeights(alias), IsOk()) << alias;
  }
}

TEST(PreloadTest, OneLineSaysWhatIsWrong) {
  const std::string good = WriteLlama("good.safetensors", 2);
  const auto start = [](const std::vector<std::string>& weights, int64_t budget, const std::string& mapping = "auto") {
    ServerOptions options = TestOptions();
    options.weights = weights;
    options.weights_budget = budget;
    options.weights_mapping = mapping;
    return Server::Start(options).status();
  };
  constexpr int64_t kMiB = int64_t{1} << 20;
  EXPECT_THAT(start({"/nowhere/x.safetensors"}, kMiB), IsError(kInvalidArgument, "--weights: /nowhere/x.safetensors"));
  EXPECT_THAT(start({good, good}, kMiB), IsError(kInvalidArgument, "weights called 'llama.layer.0' already"));
  EXPECT_THAT(start({good}, 6 * 1024), IsError(kInvalidArgument, "--weights-budget"));
  EXPECT_THAT(start({good}, 2000), IsError(kInvalidArgument, "--weights-budget"));
  EXPECT_THAT(start({good}, kMiB, "bert"), IsError(kInvalidArgument, "recognises none"));
  EXPECT_THAT(start({good}, kMiB, "x"), IsError(kInvalidArgument, "--weights-mapping: 'x'"));
}

TEST(PreloadTest, TheProgramExitsWith1) {
  ServerProcess process({"--listen", "127.0.0.1:0", "--http", "off", "--weights", "/nowhere.safetensors"});
  EXPECT_EQ(process.AwaitExit(), 1);
  const std::string err = process.err();
  EXPECT_THAT(err, HasSubstr("attnd: --weights: /nowhere.safetensors: "));
  EXPECT_EQ(std::count(err.begin(), err.end(), '\n'), 1) << err;
}

class AttnctlWeightsTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address(), "weights"});
    return Attnctl(arguments);
  }

  RunningServer server_;
};

TEST_F(AttnctlWeightsTest, PushesListsDescribesAndDeletes) {
  const std::string path = WriteLlama("push.safetensors", 40);
  const Outcome pushed = Run({"push", path});
  EXPECT_EQ(pushed.exit_code, 0) << pushed.err;
  EXPECT_THAT(pushed.out, HasSubstr("  llama.layer.39\n"));
  EXPECT_THAT(pushed.out, HasSubstr("40 sets registered, 1 tensors passed over\n"));
  const Outcome again = Run({"push", path, "--alias-prefix", "mine", "--mapping", "llama"});
  EXPECT_THAT(again.out, HasSubstr("  mine.layer.0  (was there)\n"));

  const Outcome list = Run({"list"});
  EXPECT_EQ(list.exit_code, 0) << list.err;
  EXPECT_THAT(list.out, HasSubstr("  llama.layer.39, mine.layer.39\n"));
  EXPECT_THAT(list.out, HasSubstr("40 sets, "));
  std::istringstream lines(list.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  EXPECT_THAT(Run({"list", "--json"}).out, HasSubstr("\"budget_bytes\""));

  EXPECT_EQ(Run({"alias", "mine.layer.0", "first"}).exit_code, 0);
  const Outcome described = Run({"describe", "first"});
  EXPECT_EQ(described.exit_code, 0) << described.err;
  EXPECT_THAT(described.out, HasSubstr("FLOAT32 [16, 16]"));
  EXPECT_THAT(described.out, HasSubstr("OUT_IN"));
  EXPECT_THAT(Run({"describe", "first", "--json"}).out, HasSubstr("\"weights_id\""));

  EXPECT_THAT(Run({"delete", "first"}).out, HasSubstr("deleted "));
  const Outcome gone = Run({"delete", "first"});
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_THAT(gone.err, HasSubstr("attnctl: no weights of alias 'first'"));
}

TEST_F(AttnctlWeightsTest, SaysWhatIsWrongInOneLine) {
  EXPECT_EQ(Run({}).exit_code, 2);
  EXPECT_EQ(Run({"push"}).exit_code, 2);
  const Outcome absent = Run({"push", "/nowhere.safetensors"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_THAT(absent.err, HasSubstr("attnctl: /nowhere.safetensors: "));
  EXPECT_THAT(Run({"push", "/nowhere.safetensors", "--mapping", "x"}).err, HasSubstr("'x' is no mapping"));
  EXPECT_THAT(Run({"list"}).out, ::testing::StartsWith("0 sets, 0 B of "));
}

}  // namespace
}  // namespace attnd
