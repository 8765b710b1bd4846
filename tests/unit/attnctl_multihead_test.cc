// What command lines and case files of `attnctl multihead` ask for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "client/attnctl/case.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using Texts = std::map<std::string, std::string>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr std::array<std::byte, 64> kZeros = {};

StoredTensor Zeros(const std::string& name, StoredType dtype, std::vector<int64_t> shape) {
  return {name, dtype, shape, std::span(kZeros).first(*StoredBytes(dtype, shape))};
}

CaseSource FromFlags(const Texts& flags) {
  CaseSource source{.kind = CaseKind::kMultiHead};
  source.weights.weights = "bert.layer.0";
  for (const auto& [name, text] : flags) source.flags[name] = {text};
  return source;
}

// Loads a case file with these options.
absl::StatusOr<Case> Load(const std::vector<StoredTensor>& tensors, const Texts& metadata, const Texts& flags = {}) {
  CaseSource source = FromFlags(flags);
  source.input = TempPath("case.safetensors");
  EXPECT_THAT(WriteSafetensors(source.input, tensors, metadata), IsOk());
  if (auto usage = CheckUsage(source); !usage.ok()) return usage.status();
  return LoadCase(source);
}

absl::StatusOr<Case> LoadQuery(const Texts& metadata, const Texts& flags = {}) {
  return Load({Zeros("query", StoredType::kF32, {3, 4})}, metadata, flags);
}

TEST(MultiHeadCaseTest, ReadsEveryOptionOfItsOwn) {
  const Texts options = {{"layout", "packed"},
                         {"heads", "8"},
                         {"kv_heads", "2"},
                         {"value_dim", "3"},
                         {"position_encoding", "learned"},
                         {"add_zero_attn", "true"},
                         {"qk_norm_epsilon", "0.5"},
                         {"block", "post"},
                         {"norm", "rms_norm"},
                         {"activation", "swiglu"},
                         {"block_norm_epsilon", "0.25"},
                         {"outputs", "lse,weights,scores,explain"},
                         {"score_stage", "capped"},
                         {"causal", "bottom_right"},
                         {"q_lengths", "1,2"},
                         {"priority", "3"}};
  for (const auto& loaded : {LoadQuery(options), LoadQuery({}, options)}) {
    ASSERT_THAT(loaded, IsOk());
    const MultiHeadRequest& request = loaded->multihead.request;
    EXPECT_THAT(request.query.shape, ElementsAre(3, 4));
    EXPECT_FALSE(request.key.has_value());
    EXPECT_FALSE(request.value.has_value());
    EXPECT_EQ(request.layout, Layout::kPacked);
    EXPECT_EQ(request.heads, 8);
    EXPECT_EQ(request.kv_heads, 2);
    EXPECT_EQ(request.value_dim, 3);
    EXPECT_EQ(request.position_encoding, PositionEncoding::kLearned);
    EXPECT_TRUE(request.add_zero_attn);
    EXPECT_EQ(request.norm_epsilon, 0.5F);
    ASSERT_TRUE(request.block.has_value());
    EXPECT_EQ(request.block->placement, NormPlacement::kPost);
    EXPECT_EQ(request.block->norm, NormKind::kRmsNorm);
    EXPECT_EQ(request.block->activation, Activation::kSwiglu);
    EXPECT_EQ(request.block->norm_epsilon, 0.25F);
    EXPECT_TRUE(request.explain);
    EXPECT_TRUE(request.outputs.lse);
    EXPECT_TRUE(request.outputs.weights.has_value());
    EXPECT_EQ(request.outputs.scores, ScoreStage::kCapped);
    EXPECT_TRUE(request.options.causal);
    EXPECT_EQ(request.options.alignment, Alignment::kBottomRight);
    EXPECT_THAT(request.options.q_lengths, ElementsAre(1, 2));
    EXPECT_NE(request.owner, nullptr);
    EXPECT_EQ(loaded->call.priority, 3);
    EXPECT_EQ(loaded->multihead.weights_alias, "bert.layer.0");
  }
}

TEST(MultiHeadCaseTest, KeyAndValueMayBeOthers) {
  const auto loaded = Load({Zeros("query", StoredType::kF32, {3, 4}), Zeros("key", StoredType::kF16, {2, 4}),
                            Zeros("value", StoredType::kBf16, {2, 5})},
                           {{"heads", "1"}});
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(loaded->multihead.request.key->shape, ElementsAre(2, 4));
  EXPECT_EQ(loaded->multihead.request.value->dtype, DataType::kBfloat16);
  const std::string path = TempPath("x.npy");
  ASSERT_THAT(WriteNpy(path, Zeros("", StoredType::kF32, {1, 2, 4})), IsOk());
  const CaseSource source = FromFlags({{"query", path}, {"key", path}, {"heads", "2"}, {"add_zero_attn", ""}});
  ASSERT_THAT(CheckUsage(source), IsOk());
  const auto from_flags = LoadCase(source);
  ASSERT_THAT(from_flags, IsOk());
  EXPECT_THAT(from_flags->multihead.request.query.shape, ElementsAre(1, 2, 4));
  EXPECT_TRUE(from_flags->multihead.request.key.has_value());
  EXPECT_TRUE(from_flags->multihead.request.add_zero_attn);
}

TEST(MultiHeadCaseTest, ErrorsSayWhereTheyAre) {
  const std::vector<std::pair<Texts, std::string>> cases = {
      {{}, "metadata 'heads': is needed"},
      {{{"heads", "0"}}, "metadata 'heads': '0' is not an integer >= 1"},
      {{{"layout", "heads_first"}}, "metadata 'layout': 'heads_first' is not tokens_first or packed"},
      {{{"position_encoding", "rope"}}, "'rope' is not none, sinusoidal or learned"},
      {{{"add_zero_attn", "yes"}}, "metadata 'add_zero_attn': 'yes' is not true or false"},
      {{{"qk_norm_epsilon", "-1"}}, "metadata 'qk_norm_epsilon': '-1' is not a number >= 0"},
      {{{"heads", "1"}, {"block", "pre"}}, "metadata 'norm': is needed with a block"},
      {{{"heads", "1"}, {"norm", "rms_norm"}}, "metadata 'block': is needed with norm, activation"},
      {{{"block", "middle"}}, "metadata 'block': 'middle' is not pre or post"},
      {{{"norm", "batch"}}, "metadata 'norm': 'batch' is not layer_norm or rms_norm"},
      {{{"activation", "tanh"}}, "'tanh' is not gelu, gelu_tanh, relu or swiglu"},
      {{{"outputs", "max"}}, "'max' is not lse, weights, scores, top_k, diagnostics, heatmap or explain"},
      {{{"norm_epsilon", "1"}}, "say it with qk_norm_epsilon or block_norm_epsilon"},
      {{{"explain", "1"}}, "say it with outputs explain"},
      {{{"embeddings", "x"}}, "say it with query"},
      {{{"precision", "1"}}, "'precision' would change the result"},
      {{{"is_causal", "1"}}, "say it with causal"},
      {{{"blok", "pre"}}, "is 'block' meant?"},
  };
  for (const auto& [metadata, message] : cases) {
    const auto loaded = LoadQuery(metadata);
    EXPECT_FALSE(loaded.ok()) << message;
    EXPECT_THAT(std::string(loaded.status().message()), ::testing::HasSubstr(message));
  }
  EXPECT_THAT(Load({Zeros("key", StoredType::kF32, {1})}, {}), IsError(kInvalid, "no tensor 'query'; it has: key"));
}

TEST(WeightsChoiceTest, TellsIdsAliasesAndFiles) {
  const std::string file = TempPath("plain");
  ASSERT_THAT(WriteSafetensors(file, std::vector{Zeros("x", StoredType::kF32, {1})}, {}), IsOk());
  const auto choose = [](const WeightsChoice& choice, codec::MultiHeadCall* call) {
    std::shared_ptr<const void> owner;
    if (auto status = CheckChoice(choice); !status.ok()) return status;
    return ChooseWeights(choice, call, &owner);
  };
  codec::MultiHeadCall call;
  const std::string id(64, 'a');
  EXPECT_THAT(choose({.weights = id}, &call), IsOk());
  EXPECT_EQ(call.weights_id, id);
  EXPECT_THAT(choose({.weights = "models/bert:0"}, &call), IsOk());
  EXPECT_EQ(call.weights_alias, "models/bert:0");
  EXPECT_THAT(choose({.weights = file}, &call), IsError(kInvalid, file + ": the mapping recognises none"));
  EXPECT_THAT(choose({.weights = "none.safetensors"}, &call),
              IsError(absl::StatusCode::kNotFound, "none.safetensors: No such file"));
  EXPECT_THAT(choose({.weights = file, .mapping = "x"}, &call), IsError(kInvalid, "'x'"));
  EXPECT_THAT(choose({}, &call), IsError(kInvalid, "--weights: is needed"));
  EXPECT_THAT(choose({.weights = "a b"}, &call), IsError(kInvalid, "--weights"));
  EXPECT_THAT(choose({.weights = std::string(64, 'A')}, &call), IsError(kInvalid, "--weights"));
  EXPECT_THAT(choose({.weights = id, .mapping = "bert"}, &call), IsError(kInvalid, "--mapping: goes with a file"));
  EXPECT_THAT(choose({.weights = "alias", .layer = 0}, &call), IsError(kInvalid, "--layer: goes with a file"));
  EXPECT_THAT(choose({.weights = "alias", .name = "x"}, &call), IsError(kInvalid, "--name: goes with a file"));
}

}  // namespace
}  // namespace attnd::attnctl
