// Answers compared bit by bit with what the same request gives here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/load/oracle.h"
#include "tests/support/status_matchers.h"

namespace attnd::load {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

constexpr std::array<float, 6> kRows = {.5F, -1, .25F, 2, -.75F, .125F};

// Three tokens, with everything that is made of weights.
Work EverythingAsked() {
  auto request = std::make_shared<AttentionRequest>();
  request->query = {DataType::kFloat32, {3, 2}, Fragments(std::as_bytes(std::span(kRows)))};
  request->key = request->value = request->query;
  request->outputs.top_k = TopKOutput{.k = 2, .rows = {}};
  request->outputs.diagnostics = DiagnosticsOutput{.rows = true};
  request->outputs.heatmap = HeatmapOutput{.cells = 2};
  Work work;
  work.attend = request;
  return work;
}

codec::MultiHeadReply AnswerTo(const Work& work) {
  const auto message = ComputeAnswer(work, EngineKind::kFused);
  EXPECT_THAT(message, IsOk());
  const std::array<std::string_view, 1> pieces = {*message};
  auto answer = DecodeAnswer(work, pieces);
  EXPECT_THAT(answer, IsOk());
  return *std::move(answer);
}

TEST(FirstDifferenceTest, FindsWhereSummariesDiffer) {
  const Work work = EverythingAsked();
  const codec::MultiHeadReply expected = AnswerTo(work);
  ASSERT_TRUE(expected.attention.top_k.has_value());
  ASSERT_TRUE(expected.attention.diagnostics.has_value());
  ASSERT_TRUE(expected.attention.heatmap.has_value());
  EXPECT_EQ(FirstDifference(AnswerTo(work), expected), std::nullopt);

  const auto with = [&](void (*change)(codec::AttendReply&)) {
    codec::MultiHeadReply answer = expected;
    change(answer.attention);
    return FirstDifference(answer, expected);
  };
  EXPECT_THAT(with([](auto& a) { a.top_k.reset(); }), Optional(HasSubstr("top_k is there in one of the two only")));
  EXPECT_THAT(with([](auto& a) { a.top_k->weights.values[1] = 0; }), Optional(HasSubstr("top_k.weights[0, 0, 0, 1]")));
  EXPECT_THAT(with([](auto& a) { a.top_k->keys[3] = 7; }), Optional(HasSubstr("top_k.keys[3] is 7, not")));
  EXPECT_THAT(with([](auto& a) { a.diagnostics->heads[0].values[0] = 9; }), Optional(HasSubstr("entropy[0, 0] is 9")));
  EXPECT_THAT(with([](auto& a) { a.diagnostics->rows.reset(); }), Optional(HasSubstr("diagnostics.rows is there in")));
  EXPECT_THAT(with([](auto& a) { a.diagnostics->patterns[0] = "odd"; }), Optional(HasSubstr("patterns[0] is odd")));
  EXPECT_THAT(with([](auto& a) { a.diagnostics->column_keys.clear(); }), Optional(HasSubstr("of another length")));
  EXPECT_THAT(with([](auto& a) { a.heatmap->max.values[0] = 9; }), Optional(HasSubstr("heatmap.max[0, 0, 0, 0] is 9")));
}

}  // namespace
}  // namespace attnd::load
