// Top-k, diagnostics, heatmaps and explained tensors in responses, both ways.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "proto/codec.h"
#include "tests/support/expected_summaries.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using testing::ElementsAreArray;

std::vector<float> FloatsOf(const ResultTensor& tensor) {
  const float* floats = tensor.data.floats();
  return {floats, floats + tensor.data.size() / sizeof(float)};
}

// NaN marks hidden cells, and equals nothing.
void ExpectSame(const std::string& name, const ReplyTensor& reply, const ResultTensor& result) {
  EXPECT_EQ(reply.shape, result.shape) << name;
  EXPECT_THAT(reply.values, testing::Pointwise(testing::NanSensitiveFloatEq(), FloatsOf(result))) << name;
}

void ExpectSame(const StatisticsReply& reply, const StatisticTensors& result) {
  for (size_t i = 0; i < kStatistics; ++i) {
    ExpectSame(std::string(NameOf(static_cast<Statistic>(i))), reply[i], result[i]);
  }
}

AttentionResult SomeResult(uint64_t seed) {
  RequestCase c = RandomCase(seed, {.max_pairs = 2000});
  AskForSummaries(seed, c);
  c.outputs.diagnostics->rows = seed % 2 == 0;
  auto result = RunForResult(c, {});
  EXPECT_THAT(result.status(), IsOk());
  return *std::move(result);
}

TEST(CodecSummariesTest, WhatIsWrittenIsRead) {
  for (uint64_t seed = 1; seed <= 40 && !testing::Test::HasFailure(); ++seed) {
    const AttentionResult result = SomeResult(seed);
    for (const bool as_values : {false, true}) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", as values " << as_values);
      const std::string bytes = ToString(EncodeAttendResponse(result, as_values, "id"));
      const auto reply = DecodeAttendResponse(Pieces::OfSize(bytes, 100).views());
      ASSERT_THAT(reply.status(), IsOk());
      ASSERT_TRUE(reply->top_k && reply->diagnostics && reply->heatmap);
      ExpectSame("top_k", reply->top_k->weights, result.top_k->weights);
      EXPECT_EQ(reply->top_k->keys, result.top_k->keys);
      ExpectSame(reply->diagnostics->heads, result.diagnostics->heads);
      ASSERT_EQ(reply->diagnostics->rows.has_value(), result.diagnostics->rows.has_value());
      if (reply->diagnostics->rows) ExpectSame(*reply->diagnostics->rows, *result.diagnostics->rows);
      ExpectSame("column_mass", reply->diagnostics->column_mass, result.diagnostics->column_mass);
      ExpectSame("pattern_scores", reply->diagnostics->pattern_scores, result.diagnostics->pattern_scores);
      EXPECT_EQ(reply->diagnostics->column_keys, result.diagnostics->column_keys);
      std::vector<std::string> patterns;
      for (const Pattern pattern : result.diagnostics->patterns) patterns.emplace_back(NameOf(pattern));
      EXPECT_THAT(reply->diagnostics->patterns, ElementsAreArray(patterns));
      ExpectSame("mean", reply->heatmap->mean, result.heatmap->mean);
      ExpectSame("max", reply->heatmap->max, result.heatmap->max);
    }
  }
}

// The generated parser, which clients in other languages have, understands it the same way.
TEST(CodecSummariesTest, TheGeneratedParserReadsIt) {
  const AttentionResult result = SomeResult(2);
  v1::AttendResponse parsed;
  ASSERT_TRUE(parsed.ParseFromString(ToString(EncodeAttendResponse(result, /*reply_with_values=*/true, "id"))));
  const v1::Diagnostics& diagnostics = parsed.diagnostics();
  const auto values = [](const v1::Tensor& tensor) {
    return std::vector<float>(tensor.values().begin(), tensor.values().end());
  };
  const auto figure = [&](Statistic s) { return FloatsOf(result.diagnostics->heads[static_cast<size_t>(s)]); };
  const auto same = [](const std::vector<float>& expected) {
    return testing::Pointwise(testing::NanSensitiveFloatEq(), expected);
  };
  EXPECT_THAT(values(diagnostics.heads().entropy()), same(figure(Statistic::kEntropy)));
  EXPECT_THAT(values(diagnostics.heads().distance()), same(figure(Statistic::kDistance)));
  EXPECT_THAT(values(diagnostics.heads().self_mass()), same(figure(Statistic::kSelf)));
  EXPECT_THAT(values(diagnostics.heads().window_mass()), same(figure(Statistic::kWindow)));
  EXPECT_EQ(diagnostics.patterns_size(), static_cast<int>(result.diagnostics->patterns.size()));
  EXPECT_EQ(parsed.top_k().keys_size(), static_cast<int>(result.top_k->keys.size()));
  EXPECT_THAT(values(parsed.heatmap().mean()), same(FloatsOf(result.heatmap->mean)));
}

TEST(CodecSummariesTest, ABadTensorIsNamed) {
  v1::AttendResponse response;
  response.mutable_diagnostics()->mutable_heads()->mutable_distance()->add_shape(3);
  EXPECT_THAT(DecodeAttendResponse(Pieces(response.SerializeAsString()).views()).status(),
              IsError(absl::StatusCode::kInternal, "diagnostics.heads"));
  response.Clear();
  response.mutable_heatmap()->mutable_max()->set_data("123");
  EXPECT_THAT(DecodeAttendResponse(Pieces(response.SerializeAsString()).views()).status(),
              IsError(absl::StatusCode::kInternal, "heatmap"));
}

}  // namespace
}  // namespace attnd::codec
