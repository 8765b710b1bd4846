// The built-in cases give the numbers that the texts they come from print, or ought to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "client/attnctl/case.h"
#include "client/attnctl/examples.h"
#include "tests/support/compare.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/attend_reply.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;

// The figures have six decimals.
constexpr double kPrinted = 1e-6;

Case Load(const std::string& example) {
  const CaseSource source = {.example = example};
  EXPECT_THAT(CheckUsage(source), IsOk());
  auto loaded = LoadCase(source);
  EXPECT_THAT(loaded, IsOk());
  return loaded.ok() ? *std::move(loaded) : Case();
}

// From element `begin` on.
void ExpectNear(const codec::ReplyTensor& tensor, size_t begin, const std::vector<double>& expected) {
  ASSERT_LE(begin + expected.size(), tensor.values.size());
  EXPECT_TRUE(AlmostEqual(std::span(tensor.values).subspan(begin, expected.size()), expected, kPrinted,
                          std::vector<int64_t>{static_cast<int64_t>(expected.size())}));
}

TEST(AttendExamplesTest, AreThese) {
  EXPECT_THAT(ExampleNames(CaseKind::kAttend),
              ElementsAre("cat-sat", "cat-sat-scaled", "cat-sat-causal", "you-found-me", "two-tokens", "climbing-cat"));
  EXPECT_THAT(ExampleNames(CaseKind::kMultiHead), ElementsAre("cat-sat", "packed-qkv"));
}

TEST(AttendExamplesTest, AnUnknownNameIsAnsweredWithTheList) {
  EXPECT_THAT(CheckUsage({.example = "dog"}),
              IsError(absl::StatusCode::kInvalidArgument,
                      "--example: 'dog' is not known; there is cat-sat, cat-sat-scaled, cat-sat-causal, you-found-me, "
                      "two-tokens, climbing-cat"));
  EXPECT_THAT(CheckUsage({.kind = CaseKind::kMultiHead, .example = "two-tokens"}),
              IsError(absl::StatusCode::kInvalidArgument, "there is cat-sat, packed-qkv"));
}

TEST(AttendExamplesTest, CatSat) {
  const codec::AttendReply reply = ReplyTo(Load("cat-sat").request);
  ExpectNear(*reply.weights, 0, {.364718, .298606, .336677, .201962, .496746, .301292, .285989, .378400, .335611});
  ExpectNear(reply.output, 0, {.476359, .583362, .413834, .607981, .491369, .518564, .532002, .543678, .461285});
}

TEST(AttendExamplesTest, CatSatScaled) {
  const codec::AttendReply reply = ReplyTo(Load("cat-sat-scaled").request);
  ExpectNear(*reply.weights, 6, {.305601, .359222, .335177});
  ExpectNear(reply.output, 0, {.486258, .576357, .422057, .562564, .522760, .483831, .518491, .553354, .449604});
}

TEST(AttendExamplesTest, CatSatCausal) {
  const codec::AttendReply reply = ReplyTo(Load("cat-sat-causal").request);
  ExpectNear(*reply.weights, 0, {1, 0, 0, .372942, .627058, 0});
  ExpectNear(reply.output, 0, {.2, .8, .1, .638940, .486471, .476235});
}

TEST(AttendExamplesTest, YouFoundMe) {
  const codec::AttendReply reply = ReplyTo(Load("you-found-me").request);
  ExpectNear(*reply.weights, 0, {.329945, .333322, .336733, .323951, .333244, .342805, .317996, .333094, .348909});
  ExpectNear(reply.output, 0, {.110543, .110543, .111508, .111508, .112473, .112473});
}

TEST(AttendExamplesTest, TwoTokens) {
  Case input = Load("two-tokens");
  input.request.outputs.scores = ScoreStage::kScaled;
  const codec::AttendReply reply = ReplyTo(input.request);
  // q k = .0517 exactly, halved, and against a score of 0.
  const double score = (.40 * -.01 - .05 * .79 + .23 * -.07 + .21 * .53) / 2;
  ExpectNear(*reply.scores, 0, {score, 0});
  const double weight = 1 / (1 + std::exp(-score));
  EXPECT_NEAR(weight, .5065, 5e-5);
  ExpectNear(*reply.weights, 0, {weight, 1 - weight});
  ExpectNear(reply.output, 0, {weight, 1 - weight});
}

TEST(AttendExamplesTest, ClimbingCat) {
  const Case input = Load("climbing-cat");
  EXPECT_THAT(input.request.query.shape, ElementsAre(12, 4));
  EXPECT_THAT(input.request.key.shape, ElementsAre(12, 4));
  EXPECT_THAT(input.request.value.shape, ElementsAre(12, 3));
  ASSERT_EQ(input.tokens.size(), 12U);
  const codec::AttendReply reply = ReplyTo(input.request);
  EXPECT_THAT(reply.output.shape, ElementsAre(12, 3));
  // "it" is the cat.
  const auto it = std::find(input.tokens.begin(), input.tokens.end(), "it") - input.tokens.begin();
  const auto row = reply.weights->values.begin() + it * 12;
  EXPECT_EQ(input.tokens[static_cast<size_t>(std::max_element(row, row + 12) - row)], "cat");
}

}  // namespace
}  // namespace attnd::attnctl
