#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "client/load/mix.h"
#include "client/load/presets.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::load {
namespace {

using ::testing::ElementsAre;

TEST(LoadMixTest, ReadsYaml) {
  const auto mix = ParseMix(R"(
works:
  - preset: bert-base   # as it is
    weight: 3
  - name: decode
    batch: 2
    heads: 32
    kv_heads: 8
    q_len: 1
    kv_len: [1024, 4096]
    head_dim: 128
    value_dim: 64
    dtype: bf16
    causal: true
    window: 512
    mask_density: 0.5
    kv_lengths: [7, 9]
  - case: some/file.safetensors
    weights: bert.layer.0
    name: recorded
)",
                            "m.yaml");
  ASSERT_THAT(mix, IsOk());
  ASSERT_EQ(mix->size(), 3);
  const WorkShape& bert = (*mix)[0];
  EXPECT_EQ(bert.name, "bert-base");
  EXPECT_EQ(bert.weight, 3);
  EXPECT_EQ(bert.batch, 4);
  const WorkShape& decode = (*mix)[1];
  EXPECT_EQ(decode.name, "decode");
  EXPECT_EQ(decode.weight, 1);
  EXPECT_EQ(decode.batch, 2);
  EXPECT_EQ(decode.heads, 32);
  EXPECT_EQ(decode.kv_heads, 8);
  EXPECT_THAT(decode.q_len, ElementsAre(1));
  EXPECT_THAT(decode.kv_len, ElementsAre(1024, 4096));
  EXPECT_EQ(decode.head_dim, 128);
  EXPECT_EQ(decode.value_dim, 64);
  EXPECT_EQ(decode.dtype, DataType::kBfloat16);
  EXPECT_TRUE(decode.causal);
  EXPECT_EQ(decode.window, 512);
  EXPECT_EQ(decode.mask_density, 0.5);
  EXPECT_THAT(decode.kv_lengths, ElementsAre(7, 9));
  const WorkShape& recorded = (*mix)[2];
  EXPECT_EQ(recorded.name, "recorded");
  EXPECT_EQ(recorded.case_file, "some/file.safetensors");
  EXPECT_EQ(recorded.weights, "bert.layer.0");
}

TEST(LoadMixTest, ReadsJson) {
  const auto mix = ParseMix(R"({"works": [
  {"preset": "tiny", "weight": 0.25},
  {"name": "x", "q_len": [16, 32], "dtype": "f16"},
  {"name": "y", "packed": [3, 5]}
]})",
                            "m.json");
  ASSERT_THAT(mix, IsOk());
  ASSERT_EQ(mix->size(), 3);
  EXPECT_EQ((*mix)[0].weight, 0.25);
  EXPECT_EQ((*mix)[0].heads, 1);
  EXPECT_THAT((*mix)[1].q_len, ElementsAre(16, 32));
  EXPECT_EQ((*mix)[1].dtype, DataType::kFloat16);
  EXPECT_THAT((*mix)[2].packed, ElementsAre(3, 5));
}

TEST(LoadMixTest, APresetIsTheBaseOfWhatElseIsSaidWhateverTheOrder) {
  const auto mix = ParseMix("works: [{kv_len: 512, name: short, preset: llama-decode}]", "m");
  ASSERT_THAT(mix, IsOk());
  EXPECT_EQ(mix->front().name, "short");
  EXPECT_EQ(mix->front().heads, 32);
  EXPECT_THAT(mix->front().kv_len, ElementsAre(512));
}

TEST(LoadMixTest, EveryPresetHasAShapeThatMakesSense) {
  for (const Preset& preset : Presets()) {
    const auto shape = ShapeOfPreset(preset.name);
    ASSERT_TRUE(shape.has_value()) << preset.name;
    EXPECT_EQ(shape->name, preset.name);
    EXPECT_THAT(CheckShape(*shape), IsOk()) << preset.name;
  }
  EXPECT_FALSE(ShapeOfPreset("bert").has_value());
  EXPECT_TRUE(ShapeOfPreset(kDefaultPreset).has_value());
}

struct BadMix {
  const char* contents;
  const char* message;
};

class BadMixTest : public ::testing::TestWithParam<BadMix> {};

TEST_P(BadMixTest, SaysWhereAndWhatIsWrong) {
  const auto mix = ParseMix(GetParam().contents, "m.yaml");
  EXPECT_EQ(mix.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(mix.status().message()), GetParam().message);
}

constexpr char kKeys[] =
    "name, weight, preset, case, batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim, dtype, causal, window, "
    "mask_density, kv_lengths, packed, weights, model_dim";

INSTANTIATE_TEST_SUITE_P(
    All, BadMixTest,
    ::testing::Values(
        BadMix{"", "m.yaml: nothing, not a map with works"}, BadMix{"- tiny", "m.yaml:1: a list, not a map with works"},
        BadMix{"{}", "m.yaml:1: no works"}, BadMix{"work: []", "m.yaml:1: no key 'work' is known; there is works"},
        BadMix{"works:\n  - preset: tiny\nworks: []", "m.yaml:3: works: is there twice"},
        BadMix{"works: []", "m.yaml:1: works: an empty list, not a list of at least one work"},
        BadMix{"works:\n  preset: tiny", "m.yaml:2: works: a map, not a list of at least one work"},
        BadMix{"works: [tiny]", "m.yaml:1: works[0]: 'tiny', not a map"},
        BadMix{"works:\n  - preset: bert\n",
               "m.yaml:2: works[0].preset: 'bert' is not known; there are bert-base, llama-decode, vit, tiny, "
               "rag-rerank"},
        BadMix{"works:\n  - preset: tiny\n    case: x.safetensors",
               "m.yaml:3: works[0].case: does not go with a preset"},
        BadMix{"works:\n  - case: [a, b]", "m.yaml:2: works[0].case: a list, not the path of a .safetensors file"},
        BadMix{"works:\n  - case: x.safetensors\n    heads: 2",
               "m.yaml:3: works[0].heads: does not go with a case, which says it all"},
        BadMix{"works:\n  - preset: tiny\n  - preset: vit\n    heads: two\n",
               "m.yaml:4: works[1].heads: 'two' is not an integer >= 1 and < 2^31"},
        BadMix{"works:\n  - heads: 0", "m.yaml:2: works[0].heads: '0' is not an integer >= 1 and < 2^31"},
        BadMix{"works:\n  - heads: 2147483648",
               "m.yaml:2: works[0].heads: '2147483648' is not an integer >= 1 and < 2^31"},
        BadMix{"works:\n  - heads: [1, 2]", "m.yaml:2: works[0].heads: '1,2' is not an integer >= 1 and < 2^31"},
        BadMix{"works:\n  - q_len: 12.5",
               "m.yaml:2: works[0].q_len: '12.5' is not one integer >= 1 and < 2^31, or several with commas between "
               "them"},
        BadMix{"works:\n  - q_len:\n", "m.yaml:2: works[0].q_len: nothing, not a value"},
        BadMix{"works:\n  - q_len: []", "m.yaml:2: works[0].q_len: an empty list, not a value"},
        BadMix{"works:\n  - q_len: [1, [2]]", "m.yaml:2: works[0].q_len: a list, not a value"},
        BadMix{"works:\n  - q_len: {a: 1}", "m.yaml:2: works[0].q_len: a map, not a value"},
        BadMix{"works:\n  - dtype: f64", "m.yaml:2: works[0].dtype: 'f64' is not f32, f16 or bf16"},
        BadMix{"works:\n  - causal: maybe", "m.yaml:2: works[0].causal: 'maybe' is not true or false"},
        BadMix{"works:\n  - window: -1", "m.yaml:2: works[0].window: '-1' is not an integer >= 0 and < 2^31"},
        BadMix{"works:\n  - mask_density: 0", "m.yaml:2: works[0].mask_density: '0' is not a number > 0 and <= 1"},
        BadMix{"works:\n  - mask_density: nan", "m.yaml:2: works[0].mask_density: 'nan' is not a number > 0 and <= 1"},
        BadMix{"works:\n  - weight: 0", "m.yaml:2: works[0].weight: '0' is not a number > 0"},
        BadMix{"works:\n  - weight: .inf", "m.yaml:2: works[0].weight: '.inf' is not a number > 0"},
        BadMix{"works:\n  - name: two words", "m.yaml:2: works[0].name: 'two words' is not a word in ASCII"},
        BadMix{"works:\n  - heads: 4\n    heads: 8", "m.yaml:3: works[0].heads: is there twice"},
        BadMix{"works:\n  - heads: 4\n    kv_heads: 3", "m.yaml:2: works[0].kv_heads: 3 does not divide heads, 4"},
        BadMix{"works:\n  - q_len: [1, 2]\n    kv_len: [1, 2, 3]",
               "m.yaml:2: works[0].kv_len: 3 lengths, but q_len has 2"},
        BadMix{"works:\n  - packed: [3, 4]\n    q_len: 4",
               "m.yaml:3: works[0].q_len: does not go with packed, which says the lengths"},
        BadMix{"works:\n  - kv_lengths: [1, 2]", "m.yaml:2: works[0].kv_lengths: 2 lengths, but batch is 1"},
        BadMix{"works:\n  - packed: [3]\n    batch: 2",
               "m.yaml:2: works[0].packed: says how many sequences there are, so no batch"},
        BadMix{"works:\n  - model_dim: 8", "m.yaml:2: works[0].model_dim: goes with weights"}));

TEST(LoadMixTest, WhatIsNoYamlIsRefusedWithItsLine) {
  EXPECT_THAT(ParseMix("works:\n  - heads: 4\n   q_len: 3", "m.yaml"),
              IsError(absl::StatusCode::kInvalidArgument, "m.yaml:3: "));
}

TEST(LoadMixTest, AnUnknownKeyIsRefusedWithThoseThatThereAre) {
  const auto mix = ParseMix("works:\n  - preset: tiny\n    kvlen: 3", "m.yaml");
  EXPECT_EQ(std::string(mix.status().message()),
            std::string("m.yaml:3: works[0]: no key 'kvlen' is known; there are ") + kKeys);
}

TEST(LoadMixTest, HostileDocumentsAreErrors) {
  // Deep nesting, broken UTF-8, aliases, several documents: nothing may crash.
  for (const std::string& contents :
       {std::string(100'000, '['), std::string("works: [\xff\xfe]"), std::string("works: *nowhere"),
        std::string("works: &a [*a]"), std::string("works: &a [{preset: tiny, q_len: *a}]"),
        std::string("works:\n\t- preset: tiny"), std::string("\0\0\0", 3), std::string("? [a]\n: b"),
        std::string("{\"works\": [{\"preset\": \"tiny\"}")}) {
    EXPECT_EQ(ParseMix(contents, "m").status().code(), absl::StatusCode::kInvalidArgument) << contents.substr(0, 40);
  }
}

TEST(LoadMixTest, ReadsFiles) {
  const std::string path = TempPath("mix.yaml");
  std::ofstream(path) << "works: [{preset: vit, name: picture}]\n";
  const auto mix = ReadMix(path);
  ASSERT_THAT(mix, IsOk());
  EXPECT_EQ(mix->front().name, "picture");
  EXPECT_THAT(ReadMix(TempPath("none.yaml")), IsError(absl::StatusCode::kNotFound, "none.yaml"));
}

}  // namespace
}  // namespace attnd::load
