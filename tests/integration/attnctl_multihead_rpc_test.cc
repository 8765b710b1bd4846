// attnctl multihead against a server and the oracle, and what it says when something is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "client/attnctl/case.h"
#include "client/client.h"
#include "client/npy.h"
#include "core/linear/multihead_reference.h"
#include "core/linear/safetensors.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/compare.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Role = WeightRole;
using Texts = std::map<std::string, std::string>;
using Shapes = std::map<std::string, std::vector<int64_t>>;

// Of attention over rows of 8 elements, two heads of four each, and of the layer around it.
void FillLayer(WeightsCase& weights, uint32_t seed = 1) {
  FillSquare(weights, 8, seed);
  weights.Fill(Role::kOutput, {8, 8}, seed).Fill(Role::kQueryBias, {8}, seed).Fill(Role::kOutputBias, {8}, seed);
  weights.Fill(Role::kAttentionNormScale, {8}, seed).Fill(Role::kFfnNormScale, {8}, seed);
  weights.Fill(Role::kUp, {16, 8}, seed).Fill(Role::kDown, {8, 16}, seed);
}

std::vector<StoredTensor> TensorsOf(const WeightsCase& weights, const std::string& prefix) {
  std::vector<StoredTensor> tensors;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.weights().tensors[info.role];
    if (!tensor.has_value()) continue;
    tensors.push_back({prefix + info.name, StoredType::kF32, tensor->shape, tensor->bytes.pieces()[0]});
  }
  return tensors;
}

std::string WriteTensors(const std::string& name, const std::vector<StoredTensor>& tensors) {
  std::string path = TempPath(name);
  EXPECT_THAT(WriteSafetensors(path, tensors, {{"orientation", "OUT_IN"}}), IsOk());
  return path;
}

std::vector<float> FloatsOf(const StoredTensor& tensor) {
  std::vector<float> floats(tensor.bytes.size() / sizeof(float));
  if (!floats.empty()) std::memcpy(floats.data(), tensor.bytes.data(), tensor.bytes.size());
  return floats;
}

// [batch * len, heads * dim] as [batch, heads, len, dim].
std::vector<double> HeadsFirst(const std::vector<double>& rows, const std::vector<int64_t>& shape) {
  std::vector<double> moved;
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t h = 0; h < shape[1]; ++h) {
      for (int64_t i = 0; i < shape[2]; ++i) {
        const auto row = rows.begin() + ((b * shape[2] + i) * shape[1] + h) * shape[3];
        moved.insert(moved.end(), row, row + shape[3]);
      }
    }
  }
  return moved;
}

class AttnctlMultiHeadTest : public ::testing::Test {
 protected:
  AttnctlMultiHeadTest() { FillLayer(weights_); }

  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address(), "multihead"});
    return Attnctl(arguments);
  }

  // A case of embeddings of these shapes, which follow from their names.
  static std::string WriteCase(const Shapes& shapes, const Texts& options) {
    WeightsCase values;
    std::vector<StoredTensor> tensors;
    Role role = Role::kQuery;
    for (const auto& [name, shape] : shapes) {
      values.Fill(role, shape, /*seed=*/77);
      tensors.push_back({name, StoredType::kF32, shape, values.weights().tensors[role]->bytes.pieces()[0]});
      role = role == Role::kQuery ? Role::kKey : Role::kValue;
    }
    std::string path = TempPath("case.safetensors");
    EXPECT_THAT(WriteSafetensors(path, tensors, options), IsOk());
    return path;
  }

  // Runs the case with weights_, sent or as the server has them by this name, and compares
  // all it returns.
  void Check(const Shapes& shapes, Texts options, const std::string& name = "") {
    options.insert({{"heads", "2"}, {"outputs", "lse,weights,scores,explain"}, {"score_stage", "biased"}});
    attnctl::CaseSource source{.kind = attnctl::CaseKind::kMultiHead};
    source.input = WriteCase(shapes, options);
    source.weights.weights = WriteTensors("weights.safetensors", TensorsOf(weights_, ""));
    const std::string output = TempPath("out.safetensors");
    const Outcome outcome =
        Run({"--input", source.input, "--weights", name.empty() ? source.weights.weights : name, "--output", output});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const auto asked = attnctl::LoadCase(source);
    ASSERT_THAT(asked, IsOk());
    ASSERT_TRUE(asked->multihead.with_request.has_value());
    const auto results = Safetensors::Read(output);
    ASSERT_THAT(results, IsOk());
    Compare(asked->multihead.request, *results);
  }

  void Compare(const MultiHeadRequest& request, const Safetensors& results) {
    const auto exact = ReferenceMultiHead<double>(request, weights_.weights());
    CompareTensor(results, "output", exact.output, OutputTolerance(request, weights_.weights(), exact));
    // Products of 8 numbers below 1, and softmax of them.
    constexpr double kBound = 1e-5;
    if (request.outputs.lse) CompareTensor(results, "lse", exact.heads.lse, kBound);
    CompareTensor(results, "weights", exact.heads.weights, kBound);
    CompareTensor(results, "scores", exact.heads.scores, kBound);
    CompareTensor(results, "explain.query", exact.query, kBound);
    CompareTensor(results, "explain.key", exact.key, kBound);
    CompareTensor(results, "explain.value", exact.value, kBound);
    CompareTensor(results, "explain.context", exact.context, kBound);
    CompareTensor(results, "explain.attention", exact.attention, kBound);
    if (!request.block.has_value()) return;
    const bool pre = request.block->placement == NormPlacement::kPre;
    CompareTensor(results, pre ? "explain.residual" : "explain.attention_norm", exact.hidden, kBound);
  }

  static void CompareTensor(const Safetensors& results, const std::string& name, const std::vector<double>& expected,
                            double bound) {
    SCOPED_TRACE(name);
    const StoredTensor* stored = results.Find(name);
    ASSERT_NE(stored, nullptr);
    const bool by_heads = name.rfind("explain.", 0) == 0 && stored->shape.size() == 4;
    EXPECT_TRUE(AlmostEqual(FloatsOf(*stored), by_heads ? HeadsFirst(expected, stored->shape) : expected, bound,
                            stored->shape));
  }

  // An error at run time.
  void ExpectFailure(const std::vector<std::string>& arguments, const std::string& message) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << message;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, IsOneLineOfComplaint());
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }

  RunningServer server_;
  WeightsCase weights_;
};

TEST_F(AttnctlMultiHeadTest, ComputesTheExample) {
  const Outcome outcome = Run({"--example", "cat-sat"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("query (projected) [1, 2, 3, 2]\nbatch 0, head 0\n  The  0.250000  1.000000\n"));
  EXPECT_THAT(outcome.out, HasSubstr("weights [1, 2, 3, 3]\n"
                                     "batch 0, head 0\n"
                                     "            The       cat       sat\n"
                                     "  The  0.348975  0.263001  0.388024\n"));
  EXPECT_THAT(outcome.out, HasSubstr("output [3, 4]\n"
                                     "  The   0.463715   0.490115  -0.002009   0.100779\n"
                                     "  cat   0.510025   0.474911   0.074389   0.032209\n"
                                     "  sat   0.482918   0.462780   0.006595   0.108321\n"));
  const Outcome causal = Run({"--example", "cat-sat", "--causal", "--outputs", "lse"});
  EXPECT_EQ(causal.exit_code, 0) << causal.err;
  EXPECT_THAT(causal.out, HasSubstr("lse [1, 2, 3]"));
  EXPECT_THAT(causal.out, Not(HasSubstr("weights [")));
}

TEST_F(AttnctlMultiHeadTest, ComputesTheExampleWithWeightsInOnePiece) {
  // The same in float64; values reach 8.69, and a few sums round.
  const double tolerance = std::ldexp(8.69, -22);
  const std::vector<std::pair<std::vector<std::string>, std::vector<double>>> cases = {
      {{}, {3.1495976, .1084367, 4.25, 5.65, 3.9696792, .0731437, 4.2499997, 5.6499997}},
      {{"--kv-lengths", "1"}, {8.69, -.13, 4.25, 5.65, 8.69, -.13, 4.25, 5.65}},
  };
  const std::string path = TempPath("packed_qkv.safetensors");
  for (auto [arguments, expected] : cases) {
    arguments.insert(arguments.begin(), {"--example", "packed-qkv", "--output", path});
    const Outcome outcome = Run(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("Multi-head self-attention of two tokens"));
    const auto file = Safetensors::Read(path);
    ASSERT_THAT(file, IsOk());
    const StoredTensor& output = *file->Find("output");
    EXPECT_TRUE(AlmostEqual(FloatsOf(output), expected, tolerance, output.shape));
  }
}

TEST_F(AttnctlMultiHeadTest, TakesWeightsByFileIdAndAlias) {
  const auto client = Client::Connect({.address = server_.address(), .timeout = kPatience});
  ASSERT_THAT((*client)->RegisterWeights(weights_.weights(), "a/layer:0"), IsOk());
  for (const std::string& name : {std::string(), weights_.Id(), std::string("a/layer:0")}) {
    SCOPED_TRACE(name);
    Check({{"query", {2, 5, 8}}}, {}, name);
  }
}

TEST_F(AttnctlMultiHeadTest, Options) {
  weights_.Fill(Role::kQueryNorm, {4}).Fill(Role::kKeyNorm, {4}).Fill(Role::kPositionTable, {9, 8});
  weights_.Fill(Role::kExtraKey, {8}).Fill(Role::kExtraValue, {8});
  for (const Texts& options : {
           Texts{{"causal", "top_left"}},
           Texts{{"position_encoding", "sinusoidal"}, {"alignment", "top_left"}},
           Texts{{"position_encoding", "learned"}, {"alignment", "top_left"}},
           Texts{{"add_zero_attn", "true"}, {"kv_lengths", "5,2"}},
           Texts{{"qk_norm_epsilon", "0.01"}, {"rope_style", "half"}, {"alignment", "top_left"}},
           Texts{{"kv_heads", "2"}, {"value_dim", "4"}, {"softcap", "2"}, {"window_left", "1"}},
           Texts{{"block", "pre"}, {"norm", "layer_norm"}, {"activation", "relu"}},
           Texts{{"block", "post"}, {"norm", "rms_norm"}, {"activation", "gelu"}, {"block_norm_epsilon", "0.1"}},
       }) {
    SCOPED_TRACE(options.begin()->first + "=" + options.begin()->second);
    Check({{"query", {2, 5, 8}}}, options);
  }
}

TEST_F(AttnctlMultiHeadTest, LayoutsAndOtherKeys) {
  Check({{"query", {5, 8}}}, {});
  Check({{"query", {2, 3, 8}}, {"key", {2, 5, 8}}, {"value", {2, 5, 8}}}, {{"causal", "bottom_right"}});
  // The oracle has the lse of packed sequences in another order.
  Check({{"query", {5, 8}}},
        {{"layout", "packed"}, {"q_lengths", "3,2"}, {"kv_lengths", "3,2"}, {"outputs", "weights,scores,explain"}});
}

TEST_F(AttnctlMultiHeadTest, ReadsAndWritesNpyFiles) {
  const std::vector<float> embeddings(24, 0.5F);
  const std::string x = TempPath("x.npy");
  ASSERT_THAT(WriteNpy(x, std::vector<int64_t>{3, 8}, embeddings), IsOk());
  const std::string file = WriteTensors("npy.safetensors", TensorsOf(weights_, ""));
  const std::string output = TempPath("out.npy");
  const Outcome outcome = Run({"--embeddings", x, "--key-embeddings", x, "--value-embeddings", x, "--weights", file,
                               "--heads", "2", "--output", output});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("output [3, 8]\n"));
  EXPECT_THAT(outcome.out, HasSubstr("written to " + output));
  EXPECT_THAT(ReadNpy(output)->shape, ElementsAre(3, 8));
  const Outcome packed = Run({"--embeddings", x, "--weights", file, "--heads", "2", "--packed", "--q-lengths", "1,2",
                              "--kv-lengths", "1,2", "--outputs", "weights,explain"});
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  EXPECT_THAT(packed.out, HasSubstr("key (projected) [3, 2, 4]\nsequence 0, head 0\n"));
  EXPECT_THAT(packed.out, HasSubstr("output [3, 8]\nsequence 0\n"));
}

TEST_F(AttnctlMultiHeadTest, PicksALayer) {
  std::vector<StoredTensor> tensors;
  std::vector<WeightsCase> layers(14);
  for (size_t i = 0; i < layers.size(); ++i) {
    FillLayer(layers[i], static_cast<uint32_t>(i + 1));
    const auto more = TensorsOf(layers[i], "h." + std::to_string(i) + ".");
    tensors.insert(tensors.end(), more.begin(), more.end());
  }
  const std::string file = WriteTensors("layers.safetensors", tensors);
  const std::string mapping = TempPath("mapping.json");
  std::ofstream(mapping) << R"({"name": "mine.{layer}", "orientation": "OUT_IN", "tensors": {
      "w_query": "h.{layer}.w_query", "w_key": "h.{layer}.w_key", "w_value": "h.{layer}.w_value"}})";
  const std::string input = WriteCase({{"query", {2, 8}}}, {{"heads", "2"}});
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--input", input, "--weights", file, "--mapping", mapping});
    return more;
  };
  const std::string of_layer = Run(run({"--layer", "1"})).out;
  const std::string of_name = Run(run({"--name", "mine.1"})).out;
  EXPECT_THAT(of_layer, HasSubstr("output [2, 8]\n"));
  EXPECT_EQ(of_layer.substr(0, of_layer.find("time")), of_name.substr(0, of_name.find("time")));
  EXPECT_NE(Run(run({"--layer", "2"})).out.substr(0, 100), of_layer.substr(0, 100));
  EXPECT_EQ(Run(run({"--layer", "2", "--name", "mine.2"})).exit_code, 0);
  ExpectFailure(run({}), file + ": 14 sets of weights; pick one with --layer or --name: mine.0, mine.1, mine.2,");
  ExpectFailure(run({}), ", mine.11 and 2 more\n");
  ExpectFailure(run({"--layer", "14"}), file + ": no weights of layer 14; there are: mine.0, mine.1, mine.2");
  ExpectFailure(run({"--layer", "1", "--name", "mine.2"}), "no weights of layer 1 called 'mine.2'; there are: mine.0");
}

TEST_F(AttnctlMultiHeadTest, ReportsWhatIsWrong) {
  const std::string input = WriteCase({{"query", {2, 8}}}, {{"heads", "2"}});
  const std::string file = WriteTensors("errors.safetensors", TensorsOf(weights_, ""));
  const std::string folder = TempPath("folder");
  std::filesystem::create_directory(folder);
  const std::string id(64, 'a');
  const auto with = [&](const std::string& weights, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--input", input, "--weights", weights});
    return more;
  };
  ExpectFailure(with(id), "no weights of id '" + id + "' are registered");
  ExpectFailure(with("bert.layer.0"), "no weights of alias 'bert.layer.0' are registered");
  ExpectFailure(with("gone.safetensors"), "gone.safetensors: No such file or directory");
  ExpectFailure(with(folder), folder + ": there are no .safetensors files in this folder");
  ExpectFailure(with(file, {"--mapping", "bert"}), "recognises none of the");
  ExpectFailure(with(file, {"--mapping", "no.json"}), "no.json");
  ExpectFailure(with(file, {"--heads", "3"}), "heads");
  ExpectFailure(with(file, {"--kv-heads", "3"}), "kv_heads");
  ExpectFailure(with(file, {"--block", "pre", "--norm", "rms_norm"}), "block.activation");
  ExpectFailure(with(file, {"--packed"}), "q_lengths");
  ExpectFailure(with(file, {"--position-encoding", "learned"}), "position_table");
  ExpectFailure({"--input", "/nowhere/x.safetensors", "--weights", file}, "/nowhere/x.safetensors: No such file");
  ExpectFailure({"--embeddings", "/nowhere/x.npy", "--weights", file, "--heads", "2"}, "/nowhere/x.npy: No such file");
  ExpectFailure({"--input", WriteCase({{"query", {2, 7}}}, {{"heads", "2"}}), "--weights", file}, "query");
  ExpectFailure({"--input", WriteCase({{"query", {2, 8}}}, {}), "--weights", file}, "metadata 'heads': is needed");
  const Outcome unwritten = Run({"--example", "cat-sat", "--output", "/nowhere/o.safetensors"});
  EXPECT_EQ(unwritten.exit_code, 1);
  EXPECT_EQ(unwritten.err, "attnctl: /nowhere/o.safetensors: No such file or directory\n");
}

TEST(AttnctlMultiHeadUsageTest, ReportsAServerThatIsNotThere) {
  const Outcome outcome = Attnctl({"--server", "127.0.0.1:1", "multihead", "--example", "cat-sat"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "attnctl: no server at 127.0.0.1:1 (Connection refused)\n");
}

TEST(AttnctlMultiHeadUsageTest, WrongUsageIsOneLineAndStatusTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "give one of --input FILE, --example NAME, or --embeddings FILE"},
      {{"--key-embeddings", "k.npy"}, "--key-embeddings and --value-embeddings go with --embeddings"},
      {{"--embeddings", "x.npy"}, "--weights: is needed"},
      {{"--embeddings", "x.bin", "--weights", "w"}, "--embeddings: 'x.bin' is no .npy file"},
      {{"--embeddings", "x.npy", "--weights", "w"}, "--heads: is needed"},
      {{"--embeddings", "x.npy", "--weights", "w", "--layer", "1"}, "--layer: goes with a file or folder"},
      {{"--embeddings", "x.npy", "--weights", "w", "--heads", "2", "--norm", "rms_norm"}, "--block: is needed"},
      {{"--example", "dog"}, "--example: 'dog' is not known; there is cat-sat"},
      {{"--example", "cat-sat", "--weights", "w"}, "--weights: the example has its own"},
      {{"--example", "cat-sat", "--layer", "one"}, "--layer"},
      {{"--example", "cat-sat", "--packed", "--layout", "tokens_first"}, "--layout: is both"},
      {{"--example", "cat-sat", "--output", "o.npy", "--outputs", "explain"}, "holds one array"},
      {{"--example", "cat-sat", "--query", "q.npy"}, "--query"},
  };
  for (const auto& [more, message] : cases) {
    std::vector<std::string> arguments = {"multihead"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Attnctl(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, IsOneLineOfComplaint());
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
}

}  // namespace
}  // namespace attnd
