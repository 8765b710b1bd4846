// Which keys a picture of a file's weights takes for hidden, and what attnctl's own files say of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "client/attnctl/heatmap/map_from_file.h"
#include "client/attnctl/results.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Shape = std::vector<int64_t>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

codec::ReplyTensor Ones(Shape shape) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  return {DataType::kFloat32, std::move(shape), std::vector<float>(static_cast<size_t>(count), 1)};
}

// A character per pair, row by row, of one head after the other.
std::string Seen(const DrawnMap& drawn) {
  std::string text;
  for (const auto& head : drawn.map.heads) {
    for (const float weight : head.mean) text += std::isnan(weight) ? '.' : 'x';
  }
  return text;
}

std::string SeenIn(const MapFile& file, int64_t batch) {
  MapOptions options;
  options.batch = batch;
  const auto drawn = MapFromFile(file, options);
  return drawn.ok() ? Seen(*drawn) : std::string(drawn.status().message());
}

// Weights of a case [batch, 1, q_len, ...], [batch, 1, kv_len, ...], written with its notes.
std::string Written(const Shape& lengths, const AttentionOptions& options, const AttentionOutputs& outputs = {}) {
  Case input;
  input.request.query.shape = {lengths[0], 1, lengths[1], 8};
  input.request.key.shape = {lengths[0], 1, lengths[2], 8};
  input.request.options = options;
  input.request.outputs = outputs;
  codec::AttendReply reply;
  reply.output = Ones({1});
  reply.weights = Ones({lengths[0], 1, lengths[1], lengths[2]});
  std::string path = TempPath("written.safetensors");
  EXPECT_THAT(WriteReply(path, reply, {}, NotesOf(input)), IsOk());
  return path;
}

std::string SeenAgain(const Shape& lengths, const AttentionOptions& options, int64_t batch = 0) {
  MapFile file;
  file.path = Written(lengths, options);
  return SeenIn(file, batch);
}

TEST(NotesTest, SayWhereCausalIs) {
  AttentionOptions options;
  EXPECT_EQ(SeenAgain({1, 2, 3}, options), "xxxxxx");
  options.causal = true;
  EXPECT_EQ(SeenAgain({1, 2, 2}, options), "x.xx");
  options.alignment = Alignment::kTopLeft;
  EXPECT_EQ(SeenAgain({1, 2, 3}, options), "x..xx.");
  options.alignment = Alignment::kBottomRight;
  EXPECT_EQ(SeenAgain({1, 2, 3}, options), "xx.xxx");
  options.alignment = Alignment::kOffset;
  options.q_offset = {-1};
  EXPECT_EQ(SeenAgain({1, 2, 3}, options), "...x..");
  options.k_offset = {-1};
  EXPECT_EQ(SeenAgain({1, 2, 3}, options), "x..xx.");
  options.q_offset = {int64_t{1} << 60};
  options.k_offset = {-(int64_t{1} << 60)};
  EXPECT_EQ(SeenAgain({1, 2, 3}, options), "xxxxxx");
}

TEST(NotesTest, SayWhereCausalIsInEveryEntry) {
  AttentionOptions options;
  options.causal = true;
  options.alignment = Alignment::kOffset;
  options.q_offset = {0, 1};
  EXPECT_EQ(SeenAgain({2, 2, 3}, options, 0), "x..xx.");
  EXPECT_EQ(SeenAgain({2, 2, 3}, options, 1), "xx.xxx");
  options.q_offset = {};
  options.alignment = Alignment::kBottomRight;
  options.kv_lengths = {3, 2};
  EXPECT_EQ(SeenAgain({2, 2, 3}, options, 0), "xx.xxx");
  EXPECT_EQ(SeenAgain({2, 2, 3}, options, 1), "x..xx.");
  options.q_lengths = {1};
  EXPECT_EQ(SeenAgain({2, 2, 3}, options, 1), "xx.xxx");
}

TEST(NotesTest, APrefixIsNotHidden) {
  AttentionOptions options;
  options.causal = true;
  options.prefix_lengths = {0, 2};
  EXPECT_EQ(SeenAgain({2, 3, 3}, options, 0), "x..xx.xxx");
  EXPECT_EQ(SeenAgain({2, 3, 3}, options, 1), "xx.xx.xxx");
  MapFile file;
  file.path = Written({2, 3, 3}, options);
  file.visibility.causal = "";
  EXPECT_EQ(SeenIn(file, 1), "x..xx.xxx");
}

TEST(NotesTest, ListedRowsHaveNoPlace) {
  AttentionOptions options;
  options.causal = true;
  MapFile file;
  file.path = Written({1, 2, 2}, options, {.weights = WeightsOutput{.mean = false, .rows = {1, 0}}});
  EXPECT_EQ(SeenIn(file, 0), "xxxx");
}

TEST(NotesTest, NameKeys) {
  Case input;
  input.request.query.shape = {1, 8};
  input.request.key.shape = {2, 8};
  input.tokens = {"cat"};
  input.key_tokens = {"sat", "zeros"};
  codec::AttendReply reply;
  reply.output = Ones({1});
  reply.weights = Ones({1, 1, 1, 2});
  MapFile file;
  file.path = TempPath("keys.safetensors");
  ASSERT_THAT(WriteReply(file.path, reply, {}, NotesOf(input)), IsOk());
  const auto drawn = MapFromFile(file, {});
  ASSERT_THAT(drawn, IsOk());
  EXPECT_THAT(drawn->map.query_tokens, ElementsAre("cat"));
  EXPECT_THAT(drawn->map.key_tokens, ElementsAre("sat", "zeros"));
  input.key_tokens = {"sat"};
  ASSERT_THAT(WriteReply(file.path, reply, {}, NotesOf(input)), IsOk());
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "metadata 'key_tokens': 1 tokens for 2 keys"));
}

// Weights of 1 beside a tensor `visible`.
MapFile Beside(const Shape& weights, const Shape& visible, const std::vector<uint8_t>& values) {
  const codec::ReplyTensor ones = Ones(weights);
  MapFile file;
  file.path = TempPath("beside.safetensors");
  const std::vector<StoredTensor> tensors = {
      {"weights", StoredType::kF32, weights, std::as_bytes(std::span(ones.values))},
      {"visible", StoredType::kU8, visible, std::as_bytes(std::span(values))}};
  EXPECT_THAT(WriteSafetensors(file.path, tensors, {}), IsOk());
  return file;
}

TEST(VisibleTest, DimensionsAreThoseInTheSamePlace) {
  const Shape weights = {2, 2, 1, 2};
  EXPECT_EQ(SeenIn(Beside(weights, {2, 1, 1, 2}, {1, 0, 0, 1}), 0), "x.x.");
  EXPECT_EQ(SeenIn(Beside(weights, {2, 1, 1, 2}, {1, 0, 0, 1}), 1), ".x.x");
  EXPECT_EQ(SeenIn(Beside(weights, {1, 2, 1, 2}, {1, 0, 0, 1}), 1), "x..x");
  EXPECT_EQ(SeenIn(Beside(weights, {2, 1, 2}, {1, 0, 0, 1}), 1), "x..x");
  EXPECT_EQ(SeenIn(Beside(weights, {1, 2}, {1, 0}), 1), "x.x.");
  EXPECT_EQ(SeenIn(Beside(weights, weights, {1, 1, 1, 1, 1, 0, 0, 1}), 1), "x..x");
}

TEST(VisibleTest, OneServesAll) {
  EXPECT_EQ(SeenIn(Beside({2, 1, 2, 2}, {2, 1, 1, 2}, {1, 1, 1, 0}), 1), "x.x.");
  EXPECT_EQ(SeenIn(Beside({2, 1, 2, 2}, {1, 1, 2, 1}, {1, 0}), 1), "xx..");
  EXPECT_EQ(SeenIn(Beside({2, 1, 2, 2}, {1, 1, 1, 1, 1}, {1}), 1), "xxxx");
}

TEST(VisibleTest, LayersAndEntriesAreApart) {
  const Shape weights = {2, 2, 1, 1, 2};
  EXPECT_EQ(SeenIn(Beside(weights, {2, 1, 1, 2}, {1, 0, 0, 1}), 1), ".x.x");
  EXPECT_EQ(SeenIn(Beside(weights, {2, 1, 1, 1, 2}, {1, 0, 0, 1}), 1), "x..x");
}

TEST(VisibleTest, OtherShapesDoNotFit) {
  for (const auto& [shape, count] : {std::pair{Shape{2, 2, 2}, 8}, {{3, 1, 1, 2}, 6}, {{2}, 2}, {{2, 1, 1, 1, 2}, 4}}) {
    const std::vector<uint8_t> values(static_cast<size_t>(count), 1);
    EXPECT_THAT(SeenIn(Beside({2, 1, 2, 2}, shape, values), 0), HasSubstr("its tensor 'visible' ["));
  }
}

TEST(VisibleTest, OffsetsHaveBounds) {
  MapFile file = Beside({1, 1, 2, 2}, {2, 2}, {1, 1, 1, 1});
  for (const char* text : {"9223372036854775807", "-9223372036854775808", "1152921504606846977"}) {
    file.visibility.causal = text;
    EXPECT_THAT(MapFromFile(file, {}),
                IsError(kInvalid, std::string("--causal: '") + text + "' is not a position from -2^60 to 2^60"));
  }
  file.visibility.causal = "1152921504606846976";
  EXPECT_EQ(SeenIn(file, 0), "xxxx");
  file.visibility.causal = "-1152921504606846976";
  EXPECT_EQ(SeenIn(file, 0), "....");
  file.visibility.causal = "0,1";
  EXPECT_THAT(MapFromFile(file, {}), IsError(kInvalid, "--causal: '0,1' is not top_left"));
}

}  // namespace
}  // namespace attnd::attnctl
