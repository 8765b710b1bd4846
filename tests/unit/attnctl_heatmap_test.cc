// Pictures of attention weights in files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "client/attnctl/heatmap/map_from_file.h"
#include "client/attnctl/heatmap/map_from_reply.h"
#include "client/attnctl/results.h"
#include "client/npy.h"
#include "core/attention/simd_rows.h"
#include "core/linear/safetensors.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"
#include "tests/unit/heatmap_files.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Texts = std::map<std::string, std::string>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(MapFromFileTest, TakesWeightsOfAnyRank) {
  struct Shape {
    std::vector<int64_t> shape;
    size_t heads;
    const char* title;
    const char* summary;
  };
  for (const auto& [shape, heads, title, summary] :
       {Shape{{2, 3}, 1, "head 0", "1 head, 2 x 3"}, Shape{{4, 2, 3}, 4, "head 3", "4 heads, 2 x 3"},
        Shape{{5, 4, 2, 3}, 20, "layer 4, head 3", "5 layers x 4 heads, 2 x 3"},
        Shape{{5, 2, 4, 2, 3}, 20, "layer 4, head 3", "5 layers x 4 heads, 2 x 3"}}) {
    const auto count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    const auto drawn = MapFromFile(From(NpyOf("any.npy", shape, Eighths(static_cast<size_t>(count)))), {});
    ASSERT_THAT(drawn, IsOk());
    ASSERT_EQ(drawn->map.heads.size(), heads);
    EXPECT_EQ(drawn->map.heads.back().title, title);
    EXPECT_THAT(drawn->summary, testing::StartsWith(summary));
    EXPECT_EQ(drawn->map.q_len, 2);
    EXPECT_EQ(drawn->map.kv_len, 3);
    EXPECT_EQ(drawn->map.title, "any.npy");
  }
}

TEST(MapFromFileTest, ChoosesLayersHeadsAndEntries) {
  const std::vector<float> values = Eighths(96);
  const std::string path = NpyOf("five.npy", {3, 2, 4, 2, 2}, values);
  MapOptions options;
  options.layers = {2, 0};
  options.heads = {3};
  options.batch = 1;
  const auto drawn = MapFromFile(From(path), options);
  ASSERT_THAT(drawn, IsOk());
  EXPECT_EQ(drawn->summary, "2 layers x 1 head, 2 x 2, entry 1 of 2");
  EXPECT_THAT(drawn->shape, ElementsAre(2, 1, 2, 2));
  EXPECT_EQ(drawn->map.heads[0].title, "layer 2, head 3");
  EXPECT_THAT(drawn->map.row_titles, ElementsAre("layer 2", "layer 0"));
  EXPECT_THAT(drawn->map.column_titles, ElementsAre("head 3"));
  // ((2 * 2 + 1) * 4 + 3) * 4.
  const size_t at = 92;
  EXPECT_THAT(drawn->map.heads[0].mean, ElementsAre(values[at], values[at + 1], values[at + 2], values[at + 3]));
  EXPECT_THAT(drawn->map.heads[0].max, IsEmpty());
}

TEST(MapFromFileTest, FourDimensionsAreABatchWhereThatIsSaid) {
  const std::string path = NpyOf("four.npy", {3, 2, 2, 2}, Eighths(24));
  MapOptions options;
  options.batch = 2;
  EXPECT_EQ(MapFromFile(From(path), options)->summary, "2 heads, 2 x 2, entry 2 of 3");
  options.layers = {0};
  EXPECT_THAT(MapFromFile(From(path), options), IsError(kInvalid, "one of these dimensions only"));
  const std::vector<float> values = Eighths(24);
  const std::string ours = FileOf("ours.safetensors", {F32("weights", {3, 2, 2, 2}, values)}, {{"numerics_id", "x"}});
  EXPECT_EQ(MapFromFile(From(ours), {})->summary, "2 heads, 2 x 2, entry 0 of 3");
}

TEST(MapFromFileTest, ReadsEveryTypeOfNumbers) {
  const std::vector<float> half = {0.5F, 0.5F, 0.25F, 0.75F};
  const std::vector<double> exact(half.begin(), half.end());
  for (const auto& [dtype, stored] :
       {std::pair{DataType::kFloat16, StoredType::kF16}, std::pair{DataType::kBfloat16, StoredType::kBf16}}) {
    std::vector<std::byte> bytes(half.size() * 2);
    simd::StoreRow(half.data(), 4, dtype, bytes.data());
    const auto drawn = MapFromFile(From(FileOf("short.safetensors", {{"attn", stored, {2, 2}, bytes}})), {});
    ASSERT_THAT(drawn, IsOk());
    EXPECT_EQ(drawn->map.heads[0].mean, half);
  }
  const auto drawn = MapFromFile(
      From(FileOf("long.safetensors", {{"attn", StoredType::kF64, {2, 2}, std::as_bytes(std::span(exact))}})), {});
  ASSERT_THAT(drawn, IsOk());
  EXPECT_EQ(drawn->map.heads[0].mean, half);
  EXPECT_NEAR(*drawn->map.heads[0].entropy, (std::log(2.0) - 0.25 * std::log(0.25) - 0.75 * std::log(0.75)) / 2, 1e-15);
}

TEST(MapFromFileTest, FindsTheWeightsAmongTensors) {
  const auto other = F32("mlp", {2, 2}, Four());
  EXPECT_EQ(MapFromFile(From(FileOf("t.safetensors", {other, F32("weights", {2, 2}, Four())})), {})->map.title,
            "t.safetensors: weights");
  EXPECT_EQ(MapFromFile(From(FileOf("t.safetensors", {other, F32("attn", {2, 2}, Four())})), {})->map.title,
            "t.safetensors: attn");
  EXPECT_EQ(MapFromFile(From(FileOf("t.safetensors", {other, F32("output", {2, 2}, Four())})), {})->map.title,
            "t.safetensors: mlp");
  const std::string two = FileOf("two.safetensors", {other, F32("a", {1, 2, 2}, Four())});
  EXPECT_THAT(MapFromFile(From(two), {}), IsError(kInvalid, "Say it with --tensor: 'mlp' [2, 2], 'a' [1, 2, 2]"));
  MapFile named = From(two);
  named.tensor = "a";
  EXPECT_THAT(MapFromFile(named, {}), IsOk());
  named.tensor = "b";
  EXPECT_THAT(MapFromFile(named, {}), IsError(kInvalid, "two.safetensors: no tensor 'b'; it has: 'mlp' [2, 2], 'a'"));
  EXPECT_THAT(MapFromFile(From(FileOf("none.safetensors", {F32("output", {2, 2}, Four())})), {}),
              IsError(kInvalid, "no weights; attnctl attend writes them with --outputs weights; it has: 'output'"));
}

TEST(MapFromFileTest, KnowsHiddenKeysOfATensorOrAFlag) {
  const std::vector<float> values = {1, 0, 0.5F, 0.5F};
  const std::array<bool, 4> visible = {true, false, true, true};
  const std::string path =
      FileOf("visible.safetensors", {F32("weights", {1, 1, 2, 2}, values),
                                     {"visible", StoredType::kBool, {2, 2}, std::as_bytes(std::span(visible))}});
  const auto by_tensor = MapFromFile(From(path), {});
  ASSERT_THAT(by_tensor, IsOk());
  EXPECT_TRUE(std::isnan(by_tensor->map.heads[0].mean[1]));

  const std::string plain = NpyOf("plain.npy", {2, 2}, values);
  EXPECT_EQ(MapFromFile(From(plain), {})->map.heads[0].mean, values);
  MapFile file = From(plain);
  file.visibility.zeros_hidden = true;
  EXPECT_TRUE(std::isnan(MapFromFile(file, {})->map.heads[0].mean[1]));
  file = From(plain);
  file.visibility.causal = "";
  EXPECT_TRUE(std::isnan(MapFromFile(file, {})->map.heads[0].mean[1]));

  file = From(NpyOf("wide.npy", {1, 2}, {0.5F, 0.5F}));
  file.visibility.causal = "";
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "--causal: is top_left or bottom_right where there are 1 quer"));
  file.visibility.causal = "bottom_right";
  EXPECT_THAT(MapFromFile(file, {})->map.heads[0].mean, ElementsAre(0.5F, 0.5F));
  file.visibility.causal = "top_left";
  EXPECT_TRUE(std::isnan(MapFromFile(file, {})->map.heads[0].mean[1]));
  file.visibility.causal = "x";
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "--causal: 'x' is not top_left"));

  const std::string odd =
      FileOf("odd.safetensors", {F32("weights", {1, 1, 2, 2}, values), F32("visible", {4}, values)});
  EXPECT_THAT(MapFromFile(From(odd), {}), IsError(kInvalid, "its tensor 'visible' [4] does not fit"));
}

TEST(MapFromFileTest, PoolsWhatIsLong) {
  std::vector<float> values(static_cast<size_t>(5 * 7));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 64;
  MapOptions options;
  options.cells = 2;
  const auto drawn = MapFromFile(From(NpyOf("long.npy", {5, 7}, values)), options);
  ASSERT_THAT(drawn, IsOk());
  EXPECT_EQ(drawn->summary, "1 head, 5 x 7 in 2 x 2 cells");
  // Rows 0..1 and 2..4, keys 0..2 and 3..6.
  EXPECT_THAT(drawn->map.heads[0].mean,
              ElementsAre(FloatEq((0 + 1 + 2 + 7 + 8 + 9) / 6.0F / 64), FloatEq((18 + 46) / 8.0F / 64),
                          FloatEq(22.0F / 64), FloatEq(25.5F / 64)));
  EXPECT_THAT(drawn->map.heads[0].max, ElementsAre(9.0F / 64, 13.0F / 64, 30.0F / 64, 34.0F / 64));
}

TEST(MapFromFileTest, PaddingIsCutOff) {
  const std::string path = FileOf("padded.safetensors", {F32("attn", {3, 3}, {1, 0, 0, 0.5F, 0.5F, 0, 0, 0, 0})},
                                  {{"tokens", R"([["x"], ["a", "b", "c"]])"}});
  MapFile file = From(path);
  file.length = 2;
  MapOptions options;
  options.tokens = {"a", "b"};
  const auto drawn = MapFromFile(file, options);
  ASSERT_THAT(drawn, IsOk());
  EXPECT_THAT(drawn->map.heads[0].mean, ElementsAre(1, 0, 0.5F, 0.5F));
  EXPECT_EQ(drawn->summary, "1 head, 2 x 2");
  file.length = 4;
  EXPECT_THAT(MapFromFile(file, options), IsError(kInvalid, "--length: 4 is more than the 3 of"));
}

TEST(MapFromFileTest, NamesTokens) {
  const auto with = [](const Texts& metadata) {
    return FileOf("tokens.safetensors", {F32("attn", {2, 2}, Four())}, metadata);
  };
  for (const char* text : {R"(["The", "cat"])", "The,cat", "The cat", "The\ncat\n", R"([["The", "cat"]])"}) {
    const auto drawn = MapFromFile(From(with({{"tokens", text}})), {});
    ASSERT_THAT(drawn, IsOk());
    EXPECT_THAT(drawn->map.query_tokens, ElementsAre("The", "cat")) << text;
    EXPECT_THAT(drawn->map.key_tokens, ElementsAre("The", "cat")) << text;
  }
  EXPECT_THAT(MapFromFile(From(with({{"tokens", "a b c"}})), {}),
              IsError(kInvalid, "metadata 'tokens': 3 tokens for 2 queries"));
  MapOptions options;
  options.tokens = {"x", "y"};
  options.key_tokens = {"u", "v"};
  const auto drawn = MapFromFile(From(with({{"tokens", "a b c"}})), options);
  ASSERT_THAT(drawn, IsOk());
  EXPECT_THAT(drawn->map.query_tokens, ElementsAre("x", "y"));
  EXPECT_THAT(drawn->map.key_tokens, ElementsAre("u", "v"));
  options.tokens = {"x"};
  EXPECT_THAT(MapFromFile(From(with({})), options), IsError(kInvalid, "--tokens: 1 tokens for 2 queries"));
  options.tokens = {};
  options.key_tokens = {"x"};
  EXPECT_THAT(MapFromFile(From(with({})), options), IsError(kInvalid, "--key-tokens: 1 tokens for 2 keys"));
}

TEST(MapFromFileTest, SaysWhatIsOddAboutNumbers) {
  const auto odd = MapFromFile(From(NpyOf("odd.npy", {2, 2}, {-1, 2, kNan, 0.5F})), {});
  ASSERT_THAT(odd, IsOk());
  EXPECT_THAT(odd->notes, ElementsAre(HasSubstr("2 of the numbers are outside 0..1"), HasSubstr("1 rows have a NaN")));
  EXPECT_THAT(odd->map.heads[0].mean, ElementsAre(0, 1, testing::IsNan(), testing::IsNan()));
  EXPECT_THAT(MapFromFile(From(NpyOf("nan.npy", {1, 2}, {kNan, kNan})), {}),
              IsError(kInvalid, "array [1, 2]: every row has a NaN"));
}

TEST(MapFromFileTest, RefusesWhatIsNoWeights) {
  const std::vector<float> eight = Eighths(8);
  EXPECT_THAT(MapFromFile(From(NpyOf("flat.npy", {8}, eight)), {}),
              IsError(kInvalid, "flat.npy: array [8]: weights are [q, k], [heads, q, k]"));
  EXPECT_THAT(MapFromFile(From(NpyOf("six.npy", {1, 1, 1, 1, 2, 4}, eight)), {}), IsError(kInvalid, "weights are ["));
  EXPECT_THAT(MapFromFile(From(NpyOf("none.npy", {0, 2, 4}, {})), {}), IsError(kInvalid, "holds no weights"));
  const std::vector<int64_t> integers = {1, 2};
  const std::string whole = TempPath("whole.npy");
  ASSERT_THAT(WriteNpy(whole, {"", StoredType::kI64, {1, 2}, std::as_bytes(std::span(integers))}), IsOk());
  EXPECT_THAT(MapFromFile(From(whole), {}), IsError(kInvalid, "I64 elements; weights are float16"));
  EXPECT_THAT(MapFromFile(From("/nowhere/a.npy"), {}), IsError(absl::StatusCode::kNotFound, "/nowhere/a.npy"));
  EXPECT_THAT(MapFromFile(From("weights.txt"), {}), IsError(kInvalid, "ends in neither .npy nor .safetensors"));
  MapOptions options;
  options.heads = {1};
  EXPECT_THAT(MapFromFile(From(NpyOf("one.npy", {1, 2, 4}, eight)), options),
              IsError(kInvalid, "--heads: 1 is not one of 1"));
  options.heads = {};
  options.batch = 0;
  EXPECT_THAT(MapFromFile(From(TempPath("one.npy")), options), IsError(kInvalid, "--batch: it has no batch"));
  options.batch.reset();
  options.layers = {0};
  EXPECT_THAT(MapFromFile(From(TempPath("one.npy")), options), IsError(kInvalid, "--layers: it has no layers"));
}

TEST(MapFromFileTest, RefusesFilesThatAreTooLarge) {
  const std::string path = NpyOf("large.npy", {2, 2}, Four());
  std::filesystem::resize_file(path, 3'000'000'000);
  EXPECT_THAT(MapFromFile(From(path), {}), IsError(kInvalid, "large.npy: 3.0 GB; a picture is made of at most 2.1 GB"));
  std::filesystem::remove(path);
}

TEST(MapFromFileTest, RefusesPicturesThatAreTooLarge) {
  const std::vector<std::byte> bytes(size_t{2} * 300 * 512 * 512);
  const std::string path = FileOf("many.safetensors", {{"attn", StoredType::kF16, {300, 512, 512}, bytes}});
  EXPECT_THAT(MapFromFile(From(path), {}), IsError(kInvalid, "300 heads of 512 x 512 cells are too many"));
  std::filesystem::remove(path);
}

codec::ReplyTensor Tensor(std::vector<int64_t> shape, std::vector<float> values) {
  return {DataType::kFloat32, std::move(shape), std::move(values)};
}

// Two entries of one head, 4 x 4 in 2 x 2 cells.
codec::AttendReply Pooled() {
  codec::AttendReply reply;
  reply.heatmap = {Tensor({2, 1, 2, 2}, {.5F, kNan, .25F, .125F, 1, 0, 0, 1}),
                   Tensor({2, 1, 2, 2}, {.75F, kNan, .5F, .25F, 1, 0, 0, 1})};
  codec::DiagnosticsReply& diagnostics = reply.diagnostics.emplace();
  for (auto& tensor : diagnostics.heads) tensor = Tensor({2, 1}, {0.25F, 0.5F});
  diagnostics.column_mass = Tensor({2, 1, 0}, {});
  diagnostics.patterns = {"local", "sink"};
  diagnostics.pattern_scores = Tensor({2, 1}, {0.625F, 0.75F});
  return reply;
}

TEST(MapFromFileTest, ShowsWhatAServerPooledAndFound) {
  codec::AttendReply reply = Pooled();
  reply.output = Tensor({1}, {0});
  const std::string path = TempPath("reply.safetensors");
  ASSERT_THAT(WriteReply(path, reply, {}, {{"q_len", "4"}, {"kv_len", "4"}, {"tokens", R"(["a","b","c","d"])"}}),
              IsOk());
  MapOptions options;
  options.batch = 1;
  const auto drawn = MapFromFile(From(path), options);
  ASSERT_THAT(drawn, IsOk());
  EXPECT_EQ(drawn->summary, "1 head, 4 x 4 in 2 x 2 cells, entry 1 of 2");
  const picture::HeadMap& head = drawn->map.heads[0];
  EXPECT_THAT(head.mean, ElementsAre(1, 0, 0, 1));
  EXPECT_EQ(head.pattern, "sink");
  EXPECT_EQ(head.pattern_score, 0.75);
  EXPECT_EQ(head.entropy, 0.5);
  EXPECT_THAT(drawn->map.query_tokens, ElementsAre("a", "b", "c", "d"));
  const auto first = MapFromFile(From(path), {});
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->map.heads[0].max, ElementsAre(.75F, testing::IsNan(), .5F, .25F));

  MapFile file = From(path);
  file.rollout = true;
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "a heatmap; --rollout, --length, --causal and --zeros"));
  options.cells = 1;
  EXPECT_THAT(MapFromFile(From(path), options), IsError(kInvalid, "its cells stay as they are"));
}

TEST(MapFromFileTest, AHeatmapHasMaxima) {
  const auto mean = F32("heatmap.mean", {1, 1, 2, 2}, Four());
  EXPECT_THAT(
      MapFromFile(From(FileOf("mean.safetensors", {mean})), {}),
      IsError(kInvalid, "mean.safetensors: tensor 'heatmap.mean' [1, 1, 2, 2]: its tensor 'heatmap.max' is mis"));
  const auto other = F32("heatmap.max", {1, 2, 2}, Four());
  EXPECT_THAT(MapFromFile(From(FileOf("max.safetensors", {mean, other})), {}),
              IsError(kInvalid, "its tensor 'heatmap.max' [1, 2, 2] of F32 does not fit"));
}

Case CaseOf(const std::vector<int64_t>& query, const std::vector<int64_t>& key) {
  Case input;
  input.request.query.shape = query;
  input.request.key.shape = key;
  return input;
}

TEST(MapFromReplyTest, ShowsTheEntryThatIsAskedFor) {
  MapOptions options;
  options.batch = 1;
  const auto drawn = MapFromReply(CaseOf({2, 1, 4, 8}, {2, 1, 4, 8}), Pooled(), options);
  ASSERT_THAT(drawn, IsOk());
  EXPECT_THAT(drawn->map.heads[0].mean, ElementsAre(1, 0, 0, 1));
  EXPECT_EQ(drawn->map.heads[0].pattern, "sink");
  EXPECT_EQ(drawn->map.heads[0].entropy, 0.5);
  EXPECT_EQ(drawn->summary, "1 head, 4 x 4 in 2 x 2 cells, entry 1 of 2");
  options.batch = 2;
  EXPECT_THAT(MapFromReply(CaseOf({2, 1, 4, 8}, {2, 1, 4, 8}), Pooled(), options),
              IsError(kInvalid, "--batch: 2 is not one of the 2 entries"));
}

TEST(MapFromReplyTest, NamesKeys) {
  Case input = CaseOf({2, 1, 4, 8}, {2, 1, 4, 8});
  input.tokens = {"a", "b", "c", "d"};
  const auto same = MapFromReply(input, Pooled(), {});
  ASSERT_THAT(same, IsOk());
  EXPECT_THAT(same->map.key_tokens, ElementsAre("a", "b", "c", "d"));
  input.key_tokens = {"e", "f", "g", "h"};
  const auto other = MapFromReply(input, Pooled(), {});
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(other->map.query_tokens, ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(other->map.key_tokens, ElementsAre("e", "f", "g", "h"));
}

TEST(MapFromReplyTest, SaysThatRowsWithNanAreNotShown) {
  codec::AttendReply reply = Pooled();
  const Case input = CaseOf({2, 1, 4, 8}, {2, 1, 4, 8});
  EXPECT_THAT(MapFromReply(input, reply, {})->notes, IsEmpty());
  reply.non_finite_rows = 3;
  EXPECT_THAT(MapFromReply(input, reply, {})->notes, ElementsAre(HasSubstr("rows with NaN or Inf: 3")));
}

TEST(MapFromReplyTest, TitlesTellExamplesApart) {
  Case input = CaseOf({2, 1, 4, 8}, {2, 1, 4, 8});
  EXPECT_EQ(MapFromReply(input, Pooled(), {})->map.title, "");
  input.title = "The cat sat";
  input.request.options.causal = true;
  EXPECT_EQ(MapFromReply(input, Pooled(), {})->map.title, "The cat sat, causal");
}

TEST(MapFromReplyTest, FindsSequencesOfPackedCases) {
  Case input = CaseOf({3, 2, 8}, {4, 2, 8});
  input.request.layout = Layout::kPacked;
  input.request.options.q_lengths = {1, 2};
  input.request.options.kv_lengths = {3, 1};
  codec::AttendReply reply;
  reply.heatmap = {Tensor({10}, {0, .1F, .2F, .3F, .4F, .5F, .6F, .7F, .8F, .9F}),
                   Tensor({10}, std::vector<float>(10))};
  MapOptions options;
  options.batch = 1;
  const auto drawn = MapFromReply(input, reply, options);
  ASSERT_THAT(drawn, IsOk());
  ASSERT_EQ(drawn->map.heads.size(), 2);
  EXPECT_THAT(drawn->map.heads[1].mean, ElementsAre(.8F, .9F));
  EXPECT_EQ(drawn->summary, "2 heads, 2 x 1, entry 1 of 2");
  reply.heatmap->mean.values.pop_back();
  EXPECT_THAT(MapFromReply(input, reply, options), IsError(absl::StatusCode::kInternal, "not as many cells"));
}

TEST(MapFromReplyTest, DoubtsServersThatAnswerSomethingElse) {
  EXPECT_THAT(MapFromReply(CaseOf({2, 1, 4, 8}, {2, 1, 4, 8}), {}, {}),
              IsError(absl::StatusCode::kInternal, "heatmap is not there"));
  EXPECT_THAT(MapFromReply(CaseOf({3, 1, 4, 8}, {3, 1, 4, 8}), Pooled(), {}),
              IsError(absl::StatusCode::kInternal, "is [2, 1, 2, 2], not of 3 entries and 1 heads"));
}

TEST(RolloutCommandTest, DrawsAndSavesIt) {
  const std::string path = NpyOf("layers.npy", {2, 1, 2, 2}, {1, 0, 0.5F, 0.5F, 0, 1, 1, 0});
  MapFile file = From(path);
  file.rollout = true;
  const auto drawn = MapFromFile(file, {});
  ASSERT_THAT(drawn, IsOk());
  EXPECT_EQ(drawn->summary, "rollout of 2 layers x 1 head, 2 x 2");
  EXPECT_THAT(drawn->rollout, ElementsAre(0.625, 0.375, 0.625, 0.375));
  EXPECT_THAT(drawn->map.heads[0].mean, ElementsAre(0.625F, 0.375F, 0.625F, 0.375F));
  file.path = NpyOf("wide.npy", {1, 2, 3}, Eighths(6));
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "rollout: 2 queries and 3 keys; as many are needed"));
  file.path = NpyOf("nan.npy", {1, 2, 2}, {kNan, 1, 1, 0});
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "nan.npy: array [1, 2, 2]: rollout: layer 0: a weight is"));
  std::vector<float> layers(20, 0.5F);
  layers[12] = kNan;
  file.path = NpyOf("layers.npy", {5, 1, 2, 2}, layers);
  MapOptions options;
  options.layers = {3, 4};
  EXPECT_THAT(MapFromFile(file, options), IsError(kInvalid, "rollout: layer 3: a weight is"));
}

}  // namespace
}  // namespace attnd::attnctl
