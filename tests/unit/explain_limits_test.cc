// What is explained of small and odd requests, what is refused, and what of it the wire carries.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "proto/codec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"
#include "tests/unit/explained.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::string> NamesOf(const AttentionResult& result) {
  std::vector<std::string> names;
  names.reserve(result.explain.size());
  for (const NamedResult& named : result.explain) names.push_back(named.name);
  return names;
}

RequestCase SmallCase(Dims dims) {
  RequestCase c;
  c.dims = dims;
  const auto fill = [](std::vector<int64_t> shape) {
    CaseTensor tensor{DataType::kFloat32, shape, {}};
    for (int64_t i = 0; i < Product(shape).value_or(0); ++i) {
      tensor.numbers.push_back(static_cast<float>(i % 7) / 4 - 0.5F);
    }
    return tensor;
  };
  c.query = fill({dims.batch, dims.heads, dims.q_len, dims.head_dim});
  c.key = fill({dims.batch, dims.kv_heads, dims.kv_len, dims.head_dim});
  c.value = fill({dims.batch, dims.kv_heads, dims.kv_len, dims.value_dim});
  c.outputs.explain = true;
  return c;
}

TEST(ExplainNamesTest, FollowTheFormula) {
  RequestCase c = SmallCase({1, 2, 1, 3, 4, 2, 5});
  const AttentionResult plain = Compute(c, EngineKind::kFused);
  EXPECT_THAT(NamesOf(plain),
              ElementsAre("query", "key", "value", "unscaled", "scaled", "biased", "visible", "weights", "output"));
  EXPECT_THAT(Find(plain, "value")->shape, ElementsAre(1, 1, 4, 5));
  EXPECT_THAT(Find(plain, "visible")->shape, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Find(plain, "output")->shape, ElementsAre(1, 2, 3, 5));
  c.options.softcap = 2;
  EXPECT_THAT(NamesOf(Compute(c, EngineKind::kFused)), ElementsAre("query", "key", "value", "unscaled", "scaled",
                                                                   "capped", "biased", "visible", "weights", "output"));
  c.outputs.explain = false;
  EXPECT_THAT(NamesOf(Compute(c, EngineKind::kFused)), ElementsAre());
}

TEST(ExplainEmptyTest, HasTheShapesOfNothing) {
  for (const Dims dims : {Dims{0, 2, 1, 3, 4, 2, 5}, Dims{2, 2, 1, 0, 4, 2, 5}, Dims{2, 2, 1, 3, 0, 2, 5}}) {
    for (const bool rotated : {false, true}) {
      RequestCase c = SmallCase(dims);
      if (rotated) {
        c.options.rope.emplace().style = RopeStyle::kHalf;
        c.options.alignment = Alignment::kTopLeft;
      }
      const AttentionResult result = Compute(c, EngineKind::kFused);
      ASSERT_EQ(result.explain.size(), 9U);
      EXPECT_THAT(Find(result, "query")->shape, ElementsAre(dims.batch, 2, dims.q_len, 2));
      EXPECT_THAT(Find(result, "key")->shape, ElementsAre(dims.batch, 1, dims.kv_len, 2));
      EXPECT_THAT(Find(result, "weights")->shape, ElementsAre(dims.batch, 2, dims.q_len, dims.kv_len));
      EXPECT_THAT(Find(result, "output")->shape, ElementsAre(dims.batch, 2, dims.q_len, 5));
      for (const float x : FloatsOf(*Find(result, "output"))) EXPECT_EQ(x, 0);
      // Position 0 stays where it is, position 1 is turned.
      const std::vector<float> key = FloatsOf(*Find(result, "key"));
      ASSERT_EQ(key.size(), c.key.numbers.size());
      if (key.empty()) continue;
      EXPECT_EQ(key[0], c.key.numbers[0]);
      EXPECT_EQ(key[2] == c.key.numbers[2], !rotated);
    }
  }
}

TEST(ExplainEmptyTest, RowsOutsideTheLengthsAreZero) {
  RequestCase c = SmallCase({1, 1, 1, 3, 4, 2, 2});
  for (const int64_t used : {0, 2}) {
    SpoilPool();
    c.options.q_lengths = {used};
    const AttentionResult result = Compute(c, EngineKind::kFused);
    for (const char* name : {"unscaled", "scaled", "biased", "visible", "weights"}) {
      const std::vector<float> numbers = FloatsOf(*Find(result, name));
      for (size_t i = static_cast<size_t>(used) * 4; i < 12; ++i) EXPECT_EQ(numbers[i], 0) << name;
    }
    EXPECT_EQ(FloatsOf(*Find(result, "query")), c.query.numbers);
    EXPECT_EQ(FloatsOf(*Find(result, "output"))[5], 0);
  }
}

TEST(ExplainNanTest, StaysWhereItIs) {
  RequestCase c = SmallCase({1, 1, 1, 2, 3, 2, 2});
  c.options.causal = true;
  c.options.alignment = Alignment::kTopLeft;
  c.key.numbers[2] = kNan;
  c.value.numbers[4] = kInf;
  const AttentionResult result = Compute(c, EngineKind::kFused);
  const std::vector<float> scaled = FloatsOf(*Find(result, "scaled"));
  const std::vector<float> biased = FloatsOf(*Find(result, "biased"));
  const std::vector<float> weights = FloatsOf(*Find(result, "weights"));
  EXPECT_TRUE(std::isnan(FloatsOf(*Find(result, "key"))[2]));
  EXPECT_TRUE(std::isnan(scaled[1]) && std::isnan(scaled[4]));
  // Hidden from the first query, and seen by the second.
  EXPECT_EQ(biased[1], -kInf);
  EXPECT_THAT(std::vector(weights.begin(), weights.begin() + 3), ElementsAre(1, 0, 0));
  EXPECT_TRUE(std::isnan(biased[4]) && std::isnan(weights[4]));
  EXPECT_EQ(FloatsOf(*Find(result, "output"))[0], c.value.numbers[0]);
}

TEST(ExplainLimitTest, SaysHowManyWouldBeAndAreAllowed) {
  RequestCase c = SmallCase({1, 4, 1, 128, 128, 1, 1});
  EXPECT_THAT(PlanAttention(BuildRequest(c), {}), IsOk());
  c = SmallCase({1, 4, 1, 128, 129, 1, 1});
  const auto refused = PlanAttention(BuildRequest(c), {});
  EXPECT_THAT(refused, NamesField(absl::StatusCode::kInvalidArgument, "outputs.explain"));
  EXPECT_THAT(refused, IsError(absl::StatusCode::kInvalidArgument,
                               "outputs.explain: would have 66048 weights (batch * heads * q_len * kv_len); at most "
                               "65536 are allowed"));
  c.outputs.explain = false;
  EXPECT_THAT(PlanAttention(BuildRequest(c), {}), IsOk());
}

TEST(ExplainLimitTest, CountsPackedSequencesAsTheyAre) {
  RequestCase c = SmallCase({2, 1, 1, 256, 255, 1, 1});
  c.layout = Layout::kPacked;
  c.options.q_lengths = {256, 1};
  c.options.kv_lengths = {255, 255};
  EXPECT_THAT(PlanAttention(BuildRequest(c), {}), IsOk());
  c.options.q_lengths = {256, 2};
  EXPECT_THAT(PlanAttention(BuildRequest(c), {}),
              IsError(absl::StatusCode::kInvalidArgument, "would have 65790 weights"));
}

TEST(ExplainLimitTest, CountsAmongTheResults) {
  const RequestCase c = SmallCase({1, 2, 1, 3, 4, 2, 5});
  // In floats: query, key, value, five tensors of pairs, and the output twice.
  constexpr int64_t kFloats = 12 + 8 + 20 + 5 * 24 + 2 * 30;
  const int64_t all = kFloats * 4;
  const auto plan = PlanAttention(BuildRequest(c), {.max_output_bytes = all});
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->output_bytes, all);
  EXPECT_THAT(PlanAttention(BuildRequest(c), {.max_output_bytes = all - 1}),
              NamesField(absl::StatusCode::kInvalidArgument, "outputs.explain"));
}

TEST(ExplainCodecTest, IsReadBackByTheClient) {
  RequestCase c = SmallCase({1, 2, 1, 3, 4, 2, 5});
  c.options.causal = true;
  c.options.alignment = Alignment::kBottomRight;
  const AttentionResult result = Compute(c, EngineKind::kFused);
  for (const bool as_values : {false, true}) {
    const std::string bytes = codec::ToString(codec::EncodeAttendResponse(result, as_values, "id"));
    const auto reply = codec::DecodeAttendResponse(codec::Pieces(bytes).views());
    ASSERT_THAT(reply, IsOk());
    ASSERT_EQ(reply->explain.size(), result.explain.size());
    for (size_t i = 0; i < reply->explain.size(); ++i) {
      const auto& [name, tensor] = reply->explain[i];
      EXPECT_EQ(name, result.explain[i].name);
      EXPECT_EQ(tensor.shape, result.explain[i].tensor.shape);
      EXPECT_EQ(tensor.values, FloatsOf(result.explain[i].tensor));
    }
  }
  AttentionRequest request = BuildRequest(c);
  const std::string bytes = codec::ToString(codec::EncodeAttendRequest(request));
  const auto call = codec::DecodeAttendRequest(codec::Pieces(bytes).views(), nullptr);
  ASSERT_THAT(call, IsOk());
  EXPECT_TRUE(call->request.outputs.explain);
}

}  // namespace
}  // namespace attnd
