#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/npy.h"
#include "core/linear/safetensors.h"
#include "tests/integration/fake_server.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

StoredTensor F32(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) {
  return {name, StoredType::kF32, std::move(shape), std::as_bytes(std::span(values))};
}

// Query and key are such that every weight is 1/2; value rows are 1 and 3.
class AttnctlTest : public ::testing::Test {
 protected:
  AttnctlTest()
      : server_({.attend = [this](auto* context, const auto& request, auto* response) {
          seen_ = request;
          return FakeServer::ComputeAttention(context, request, response);
        }}) {}

  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    return Attnctl(arguments);
  }

  // The path of a case file.
  static std::string WriteCase(const std::string& name, const std::map<std::string, std::string>& metadata) {
    const std::vector<float> zeros(4, 0.0F);
    const std::vector<float> value = {1, 3};
    const std::string path = TempPath(name);
    EXPECT_THAT(
        WriteSafetensors(
            path, std::vector{F32("query", {2, 2}, zeros), F32("key", {2, 2}, zeros), F32("value", {2, 1}, value)},
            metadata),
        IsOk());
    return path;
  }

  v1::AttendRequest seen_;
  FakeServer server_;
};

TEST_F(AttnctlTest, ComputesTheCatSatExample) {
  const Outcome outcome = Run({"attend", "--example", "cat-sat"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("\"The cat sat\""));
  EXPECT_THAT(outcome.out, HasSubstr("            The       cat       sat\n"
                                     "  The  0.364718  0.298606  0.336677\n"
                                     "  cat  0.201962  0.496746  0.301292\n"
                                     "  sat  0.285989  0.378400  0.335611\n"));
  EXPECT_THAT(outcome.out, HasSubstr("  The  0.476359  0.583362  0.413834\n"
                                     "  cat  0.607981  0.491369  0.518564\n"
                                     "  sat  0.532002  0.543678  0.461285\n"));
  EXPECT_THAT(outcome.out, HasSubstr("compute 2.500 ms"));
  EXPECT_THAT(outcome.out, HasSubstr("numerics        fake\n"));
}

TEST_F(AttnctlTest, TakesGlobalFlagsAfterTheCommandToo) {
  EXPECT_EQ(Attnctl({"attend", "--example", "cat-sat", "--server", server_.address(), "--timeout", "1m"}).exit_code, 0);
}

TEST_F(AttnctlTest, ReadsAndWritesNpyFiles) {
  const std::vector<float> zeros(4, 0.0F);
  ASSERT_THAT(WriteNpy(TempPath("q.npy"), std::vector<int64_t>{2, 2}, zeros), IsOk());
  ASSERT_THAT(WriteNpy(TempPath("v.npy"), std::vector<int64_t>{2, 1}, std::vector<float>{1, 3}), IsOk());
  const std::string output = TempPath("out.npy");
  const Outcome outcome = Run({"attend", "--query", TempPath("q.npy"), "--key", TempPath("q.npy"), "--value",
                               TempPath("v.npy"), "--output", output});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("output [2, 1]\n  2.000000\n  2.000000\n"));
  EXPECT_THAT(outcome.out, HasSubstr("written to " + output));
  const auto array = ReadNpy(output);
  ASSERT_THAT(array, IsOk());
  EXPECT_THAT(array->shape, ElementsAre(2, 1));
}

TEST_F(AttnctlTest, ReadsOptionsFromACaseAndWritesAllResults) {
  const std::string input =
      WriteCase("case.safetensors", {{"scale", "0.5"}, {"outputs", "lse,weights"}, {"causal", "2"}, {"note", "mine"}});
  const std::string output = TempPath("out.safetensors");
  const Outcome outcome = Run({"attend", "--input", input, "--output", output});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(seen_.options().scale(), 0.5F);
  EXPECT_EQ(seen_.options().alignment(), v1::ALIGNMENT_OFFSET);
  EXPECT_THAT(seen_.options().q_offset(), ElementsAre(2));
  const auto file = Safetensors::Read(output);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(file->Find("output")->shape, ElementsAre(2, 1));
  EXPECT_THAT(file->Find("lse")->shape, ElementsAre(1, 1, 2));
  EXPECT_THAT(file->Find("weights")->shape, ElementsAre(1, 1, 2, 2));
  EXPECT_EQ(file->metadata().at("numerics_id"), "fake");
}

TEST_F(AttnctlTest, FlagsBeatTheFile) {
  const std::string input = WriteCase("flags.safetensors", {{"scale", "0.5"}, {"causal", "top_left"}, {"heads", "x"}});
  const Outcome outcome =
      Run({"attend", "--input", input, "--scale=-2", "--causal=false", "--heads", "1", "--kv-heads", "1"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(seen_.options().scale(), -2.0F);
  EXPECT_FALSE(seen_.options().causal());
  EXPECT_EQ(seen_.options().alignment(), v1::ALIGNMENT_UNSPECIFIED);
  EXPECT_EQ(seen_.heads(), 1);
}

TEST_F(AttnctlTest, SendsEveryOption) {
  const std::vector<float> zeros(4, 0.0F);
  const std::vector<std::byte> keep(4, std::byte{1});
  const StoredTensor mask = {"mask", StoredType::kBool, {2, 2}, keep};
  const std::string input = TempPath("every.safetensors");
  ASSERT_THAT(WriteSafetensors(input,
                               std::vector{F32("query", {2, 2}, zeros), F32("key", {2, 2}, zeros),
                                           F32("value", {2, 2}, zeros), F32("bias.0", {2, 2}, zeros), mask},
                               {{"mask_polarity", "keep"}, {"softcap", "30"}, {"window_left", "128"}}),
              IsOk());
  const std::string output = TempPath("every_out.safetensors");
  const Outcome outcome = Run({"attend",
                               "--input",
                               input,
                               "--output",
                               output,
                               "--causal",
                               "-1",
                               "--k-offset=-2",
                               "--window-right",
                               "3",
                               "--kv-lengths",
                               "2",
                               "--kv-starts",
                               "0",
                               "--prefix-lengths",
                               "1",
                               "--query-ids",
                               "1,1",
                               "--sinks=-1.5",
                               "--alibi-slopes",
                               "0.5",
                               "--rope-style",
                               "interleaved",
                               "--rope-theta",
                               "1000",
                               "--outputs",
                               "lse,weights,scores",
                               "--weights-heads",
                               "mean",
                               "--weights-rows",
                               "1,0",
                               "--score-stage",
                               "biased",
                               "--output-dtype",
                               "float32"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const v1::AttentionOptions& options = seen_.options();
  EXPECT_TRUE(options.causal());
  EXPECT_EQ(options.alignment(), v1::ALIGNMENT_OFFSET);
  EXPECT_THAT(options.q_offset(), ElementsAre(-1));
  EXPECT_THAT(options.k_offset(), ElementsAre(-2));
  EXPECT_EQ(options.window().left(), 128);
  EXPECT_EQ(options.window().right(), 3);
  EXPECT_THAT(options.kv_lengths(), ElementsAre(2));
  EXPECT_THAT(options.prefix_lengths(), ElementsAre(1));
  ASSERT_EQ(options.masks_size(), 1);
  EXPECT_EQ(options.masks(0).polarity(), v1::Mask::POLARITY_KEEP);
  EXPECT_EQ(options.masks(0).tensor().dtype(), v1::DATA_TYPE_BOOL);
  ASSERT_EQ(options.biases_size(), 1);
  EXPECT_THAT(options.biases(0).shape(), ElementsAre(2, 2));
  EXPECT_EQ(options.softcap(), 30);
  EXPECT_THAT(options.documents().query_ids(), ElementsAre(1, 1));
  EXPECT_THAT(ValuesOf(options.sinks()), ElementsAre(-1.5F));
  EXPECT_THAT(ValuesOf(options.alibi_slopes()), ElementsAre(0.5F));
  EXPECT_EQ(options.rope().style(), v1::Rope::STYLE_INTERLEAVED);
  EXPECT_EQ(options.rope().theta(), 1000);
  EXPECT_EQ(seen_.outputs().dtype(), v1::DATA_TYPE_FLOAT32);
  EXPECT_TRUE(seen_.outputs().has_lse());
  EXPECT_EQ(seen_.outputs().weights().heads(), v1::WeightsOutput::HEADS_MEAN);
  EXPECT_THAT(seen_.outputs().weights().rows(), ElementsAre(1, 0));
  EXPECT_EQ(seen_.outputs().scores().stage(), v1::ScoresOutput::STAGE_BIASED);
}

TEST_F(AttnctlTest, CausalNeedsNoValue) {
  ASSERT_EQ(Run({"attend", "--example", "cat-sat", "--causal"}).exit_code, 0);
  EXPECT_TRUE(seen_.options().causal());
  EXPECT_EQ(seen_.options().alignment(), v1::ALIGNMENT_UNSPECIFIED);
  ASSERT_EQ(Run({"attend", "--causal", "--example", "cat-sat"}).exit_code, 0);
  EXPECT_TRUE(seen_.options().causal());
}

TEST_F(AttnctlTest, ReportsWhatTheServerRefuses) {
  FakeServer refusing({.attend = [](auto* /*context*/, const auto& /*request*/, auto* /*response*/) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "key: [2, 2] is\nnot right");
  }});
  const Outcome outcome = Attnctl({"--server", refusing.address(), "attend", "--example", "cat-sat"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "attnctl: key: [2, 2] is not right\n");
}

TEST_F(AttnctlTest, ReportsFilesThatAreNotRight) {
  const std::vector<double> doubles = {1, 2};
  std::vector<StoredTensor> tensors;
  for (const char* name : {"query", "key", "value"}) {
    tensors.push_back({name, StoredType::kF64, {2, 1}, std::as_bytes(std::span(doubles))});
  }
  ASSERT_THAT(WriteSafetensors(TempPath("f64"), tensors, {}), IsOk());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/nowhere/case.safetensors", "/nowhere/case.safetensors: No such file or directory"},
      {TempPath("f64"), "tensor 'query': F64 elements; save it as float32"},
      {WriteCase("bad_scale", {{"scale", "big"}}), "metadata 'scale': 'big' is not a finite number"},
      {WriteCase("precision", {{"precision", "bfloat16"}}), "'precision' would change the result"},
      {WriteCase("is_causal", {{"is_causal", "1"}}), "'is_causal' is no option here; say it with causal"},
      {WriteCase("stage", {{"outputs", "scores"}}), "metadata 'score_stage': is needed with scores"},
      {WriteCase("casual", {{"casual", "true"}}), "'casual' is no option; is 'causal' meant?"},
  };
  for (const auto& [path, message] : cases) {
    const Outcome outcome = Run({"attend", "--input", path});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.err, IsOneLineOfComplaint());
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
}

TEST_F(AttnctlTest, ReportsAnOutputThatCannotBeWritten) {
  const Outcome outcome = Run({"attend", "--example", "cat-sat", "--output", "/nowhere/out.safetensors"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "attnctl: /nowhere/out.safetensors: No such file or directory\n");
}

TEST_F(AttnctlTest, ReportsAServerThatIsNotThere) {
  const std::string address = UnusedAddress();
  const std::vector<std::vector<std::string>> commands = {{"attend", "--example", "cat-sat"}, {"info"}, {"health"}};
  for (std::vector<std::string> command : commands) {
    command.insert(command.end(), {"--server", address});
    const Outcome outcome = Attnctl(command);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.err, "attnctl: no server at " + address + " (Connection refused)\n");
  }
}

TEST_F(AttnctlTest, PrintsHealth) {
  const Outcome serving = Run({"health"});
  EXPECT_EQ(serving.out, "SERVING\n");
  EXPECT_EQ(serving.exit_code, 0);

  FakeServer draining({.health = grpc::health::v1::HealthCheckResponse::NOT_SERVING});
  const Outcome not_serving = Attnctl({"--server", draining.address(), "health"});
  EXPECT_EQ(not_serving.out, "NOT_SERVING\n");
  EXPECT_EQ(not_serving.err, "");
  EXPECT_EQ(not_serving.exit_code, 1);

  const Outcome unknown = Run({"health", "--service", "no.Such"});
  EXPECT_EQ(unknown.err, "attnctl: unknown service no.Such\n");
  EXPECT_EQ(unknown.exit_code, 1);
}

TEST_F(AttnctlTest, PrintsInfo) {
  v1::GetInfoResponse info;
  info.set_version("1.2.3");
  info.set_isa("AVX2");
  info.set_workers(2);
  info.add_data_types(v1::DATA_TYPE_FLOAT32);
  FakeServer server({.info = info});

  const Outcome text = Attnctl({"info", "--server", server.address()});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, StartsWith("version       1.2.3\n"));
  EXPECT_THAT(text.out, HasSubstr("data types    FLOAT32\n"));

  const Outcome json = Attnctl({"info", "--json", "--server", server.address()});
  EXPECT_EQ(json.exit_code, 0);
  const auto parsed = nlohmann::json::parse(json.out, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(parsed.is_object()) << json.out;
  EXPECT_EQ(parsed["isa"], "AVX2");
  EXPECT_EQ(parsed["workers"], 2);
}

TEST(AttnctlUsageTest, WrongUsageIsOneLineAndStatusTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "subcommand is required"},
      {{"compute"}, "attnctl: "},
      {{"attend"}, "give one of --input"},
      {{"attend", "--example", "dog"}, "--example: 'dog' is not known"},
      {{"attend", "--example", "cat-sat", "--input", "x"}, "give one of --input"},
      {{"attend", "--query", "q.npy"}, "--query, --key and --value go together"},
      {{"attend", "--example", "cat-sat", "--heads", "0"}, "--heads: '0' is not an integer >= 1"},
      {{"attend", "--example", "cat-sat", "--kv-heads", "two"}, "--kv-heads: 'two'"},
      {{"attend", "--example", "cat-sat", "--causal=left"}, "--causal: 'left' is not top_left, bottom_right"},
      {{"attend", "--example", "cat-sat", "--scale", "inf"}, "--scale: 'inf' is not a finite number"},
      {{"attend", "--example", "cat-sat", "--outputs", "scores"}, "--score-stage: is needed with scores"},
      {{"attend", "--example", "cat-sat", "--layout", "ragged"},
       "--layout: 'ragged' is not heads_first, tokens_first or packed"},
      {{"attend", "--example", "cat-sat", "--priority", "1e3"}, "--priority: '1e3'"},
      {{"attend", "--example", "cat-sat", "--output", "out.txt"}, "--output: 'out.txt' ends in neither"},
      {{"attend", "--example", "cat-sat", "--outputs", "lse", "--output", "out.npy"}, "holds one array"},
      {{"attend", "--example", "cat-sat", "--outputs", "max"}, "--outputs: 'max' is not lse, weights, scores, top_k,"},
      {{"attend", "--example", "cat-sat", "--output", "out.npy"}, "holds one array"},
      {{"attend", "--query", "q.npy", "--key", "k.npy", "--value", "v.npy", "--output-dtype", "bfloat16", "--output",
        "out.npy"},
       "cannot hold bfloat16"},
      {{"attend", "--example", "cat-sat", "--softcap", "x"}, "--softcap: 'x' is not a finite number"},
      {{"attend", "--example", "cat-sat", "--mask", "m.bin", "--mask-polarity", "keep"}, "--mask: 'm.bin' is no .npy"},
      {{"attend", "--example", "cat-sat", "--mask", "m.npy"}, "--mask-polarity: is needed with a mask"},
      {{"attend", "--example", "cat-sat", "--mask-polarity", "keep"}, "--mask-polarity: there is no mask"},
      {{"attend", "--example", "cat-sat", "--causal", "top_left", "--alignment", "bottom_right"},
       "--causal: 'top_left' stands for alignment top_left, but alignment is 'bottom_right'"},
      {{"attend", "--example", "cat-sat", "--kv-lengths", "1;2"}, "--kv-lengths: '1;2' is not one integer, or several"},
      {{"attend", "--example", "cat-sat", "--rope-theta", "10"}, "--rope-style: is needed"},
      {{"attend", "--example", "cat-sat", "--window", "3"}, "--window"},
      {{"info", "--timeout", "5"}, "--timeout: '5' is not a time"},
      {{"info", "--timeout", "1e999s"}, "--timeout: '1e999s' is not a time"},
      {{"info", "--server", "localhost"}, "address: 'localhost' is none of HOST:PORT"},
  };
  for (const auto& [arguments, message] : cases) {
    const Outcome outcome = Attnctl(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, IsOneLineOfComplaint());
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
}

TEST(AttnctlUsageTest, HelpGoesToStandardOutput) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                    {"attend", "--help"},
                                                    {"multihead", "--help"},
                                                    {"info", "-h"},
                                                    {"--version"}}) {
    const Outcome outcome = Attnctl(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_THAT(outcome.out, HasSubstr("attnctl"));
  }
}

TEST(AttnctlUsageTest, HelpOfCasesFitsTwoScreens) {
  for (const char* command : {"attend", "multihead"}) {
    std::istringstream help(Attnctl({command, "--help"}).out);
    int lines = 0;
    for (std::string line; std::getline(help, line); ++lines) EXPECT_LE(line.size(), 110) << line;
    EXPECT_LE(lines, 115);
    EXPECT_GE(lines, 50);
  }
}

}  // namespace
}  // namespace attnd
