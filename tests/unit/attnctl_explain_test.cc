// The page that attnctl explain prints, of the engine's own numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/attnctl/derivation.h"
#include "client/attnctl/explain_command.h"
#include "core/attention/reference.h"
#include "tests/support/cat_sat_page.h"
#include "tests/support/random_case.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/attend_reply.h"
#include "tests/unit/printed_arithmetic.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<std::string> PageOf(const ExplainFlags& flags, Case input) {
  const auto plan = PrepareExplain(flags.head, &input);
  if (!plan.ok()) return plan.status();
  return ExplainReply(flags, input, *plan, ReplyTo(input.request));
}

ExplainFlags Asking(const std::string& example, const std::string& cell = "", const FlagValues& values = {}) {
  ExplainFlags flags;
  flags.computed.source.example = example;
  flags.computed.source.flags = values;
  flags.cell = cell;
  return flags;
}

std::string PageOf(const ExplainFlags& flags) {
  EXPECT_THAT(CheckExplain(flags), IsOk());
  auto input = LoadCase(flags.computed.source);
  EXPECT_THAT(input, IsOk());
  if (!input.ok()) return "";
  auto page = PageOf(flags, *std::move(input));
  EXPECT_THAT(page, IsOk());
  return page.ok() ? *page : "";
}

void ExpectArithmetic(const std::string& page) {
  const auto equations = EquationsOf(page);
  // At least a score, the sum and an exp of the softmax, a weight, and an output.
  EXPECT_GE(equations.size(), 5U) << page;
  for (const auto& sides : equations) ExpectEqualSides(sides);
}

void ExpectLinesFit(const std::string& page) {
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

std::vector<float> FloatsOf(const TensorView& tensor) {
  std::vector<float> floats(tensor.bytes.size() / sizeof(float));
  tensor.bytes.CopyTo(std::as_writable_bytes(std::span(floats)).data());
  return floats;
}

// Exact numbers, rounded to float32. REQUIRES: float32 tensors, no softcap.
codec::AttendReply OracleReply(AttentionRequest request) {
  codec::AttendReply reply;
  const auto add = [&reply](const char* name, const auto& numbers) {
    reply.explain.push_back({name, {DataType::kFloat32, {}, std::vector<float>(numbers.begin(), numbers.end())}});
  };
  add("query", FloatsOf(request.query));
  add("key", FloatsOf(request.key));
  add("value", FloatsOf(request.value));
  ReferenceResult<double> result;
  for (const auto& [name, stage] :
       {std::pair{"unscaled", ScoreStage::kUnscaled}, std::pair{"scaled", ScoreStage::kScaled},
        std::pair{"biased", ScoreStage::kBiased}}) {
    request.outputs = {.weights = WeightsOutput(), .scores = stage};
    result = ReferenceAttention<double>(request);
    add(name, result.scores);
  }
  std::vector<float> visible;
  visible.reserve(result.scores.size());
  for (const double score : result.scores) visible.push_back(std::isinf(score) ? 0.0F : 1.0F);
  add("visible", visible);
  add("weights", result.weights);
  add("output", result.output);
  return reply;
}

TEST(ExplainPageTest, IsThisOne) {
  for (const auto& [example, expected] :
       {std::pair{"cat-sat", kCatSatPage}, std::pair{"cat-sat-causal", kCatSatCausalPage}}) {
    const ExplainFlags flags = Asking(example);
    auto input = LoadCase(flags.computed.source);
    ASSERT_THAT(input, IsOk());
    const auto plan = PrepareExplain(flags.head, &*input);
    ASSERT_THAT(plan, IsOk());
    const auto page = ExplainReply(flags, *input, *plan, OracleReply(input->request));
    ASSERT_THAT(page, IsOk());
    EXPECT_EQ(*page, expected);
    EXPECT_TRUE(SamePage(PageOf(flags), expected));
  }
}

TEST(ExplainPageTest, ArithmeticOfEveryExampleAndCellIsRight) {
  for (const char* example : {"cat-sat", "cat-sat-scaled", "cat-sat-causal", "you-found-me", "climbing-cat"}) {
    for (const char* cell : {"0,0", "0,1", "1,0", "1,2", "2,2"}) {
      SCOPED_TRACE(testing::Message() << example << " " << cell);
      const std::string page = PageOf(Asking(example, cell));
      ExpectArithmetic(page);
      ExpectLinesFit(page);
    }
  }
  ExpectArithmetic(PageOf(Asking("two-tokens")));
}

TEST(ExplainPageTest, ArithmeticWithEveryOptionIsRight) {
  const uint64_t cases = FromEnvironment("ATTND_CASES", kSanitized ? 100 : 1500);
  int64_t pages = 0;
  for (uint64_t seed = 1; seed <= cases && !HasFailure(); ++seed) {
    const RequestCase c = RandomCase(seed, {.max_pairs = 300, .garbage_percent = 0, .visible_nan_percent = 0});
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    ExplainFlags flags;
    flags.head = {c.dims.batch - 1, c.dims.heads - 1};
    Case input;
    input.request = BuildRequest(c);
    const auto page = PageOf(flags, std::move(input));
    if (!page.ok()) {
      EXPECT_THAT(page, IsError(kInvalid, "")) << page.status();
      continue;
    }
    ++pages;
    ExpectLinesFit(*page);
    for (const auto& sides : EquationsOf(*page)) ExpectEqualSides(sides);
  }
  EXPECT_GE(pages, static_cast<int64_t>(cases / 4));
}

TEST(ExplainPageTest, NumbersThatAreNoneDoNoHarm) {
  int64_t shown = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    const RequestCase c = RandomCase(seed, {.max_pairs = 300, .garbage_percent = 100, .visible_nan_percent = 100});
    Case input;
    input.request = BuildRequest(c);
    const auto page = PageOf({}, std::move(input));
    if (!page.ok()) continue;
    ExpectLinesFit(*page);
    shown += page->find("nan") == std::string::npos ? 0 : 1;
  }
  EXPECT_GE(shown, 50);
}

TEST(ExplainPageTest, ExplainsTheCellAskedFor) {
  EXPECT_THAT(PageOf(Asking("cat-sat", "The,sat")), HasSubstr("score(The, sat) = 0.2*0.4 + 0.8*0.6 + 0.1*0.5\n"));
  EXPECT_THAT(PageOf(Asking("cat-sat", "1,0")), HasSubstr("score(cat, The) = 0.9*0.2"));
  EXPECT_THAT(PageOf(Asking("two-tokens", "cat,zeros")), HasSubstr("score(cat, zeros) = 0.4*0 + (-0.05)*0"));
  EXPECT_THAT(PageOf(Asking("climbing-cat", "a[10],cat")), HasSubstr("score(a[10], cat) = 0.6*1.8"));
  EXPECT_THAT(PageOf(Asking("climbing-cat", "it,bird")), HasSubstr("score(it, bird) = 2*1.5"));
}

TEST(ExplainPageTest, RefusesCellsThatAreNotThere) {
  for (const auto& [cell, message] :
       {std::pair{"dog,cat", "--cell: 'dog' is no query; there are The, cat, sat"},
        std::pair{"cat,3", "--cell: there is no key 3; 0 to 2 are there"},
        std::pair{"-1,0", "--cell: there is no query -1"},
        std::pair{"cat", "--cell: 'cat' is not a query and a key with a comma between them"}}) {
    EXPECT_THAT(CheckExplain(Asking("cat-sat", cell)), IsError(kInvalid, message));
  }
  EXPECT_THAT(CheckExplain(Asking("climbing-cat", "a,cat")), IsError(kInvalid, "'a' is no query; there are The, cat"));
}

TEST(ExplainPageTest, SaysWhatOptionsDo) {
  const std::string capped = PageOf(Asking("cat-sat", "", {{"softcap", {"2"}}}));
  EXPECT_THAT(capped, HasSubstr("4. Soft cap\n"));
  EXPECT_THAT(capped, HasSubstr("capped(sat, cat) = 2 * tanh(0.89 / 2)\n"));
  ExpectArithmetic(capped);
  const std::string biased = PageOf(Asking("cat-sat", "2,0", {{"alibi_slopes", {"0.25"}}, {"causal", {""}}}));
  EXPECT_THAT(biased, HasSubstr("4. Bias and visibility\n"));
  EXPECT_THAT(biased, HasSubstr("biased(sat, The) = 0.61 + (-0.5)\n"));
  EXPECT_THAT(biased, HasSubstr("causal hides the keys after a query"));
  ExpectArithmetic(biased);
  const std::string sinking = PageOf(Asking("cat-sat", "", {{"sinks", {"1.5"}}}));
  EXPECT_THAT(sinking, HasSubstr("exp(1.5 - 1.5) = exp(0) = 1\n"));
  ExpectArithmetic(sinking);
  const std::string turned = PageOf(Asking("cat-sat", "", {{"rope_style", {"half"}}, {"rope_rotary_dim", {"2"}}}));
  EXPECT_THAT(turned, HasSubstr("after the rotation by position (RoPE)"));
  ExpectArithmetic(turned);
  const std::string unused = PageOf(Asking("cat-sat", "sat,cat", {{"q_lengths", {"2"}}}));
  EXPECT_THAT(unused, HasSubstr("Only the first 2 queries are used: the row of sat is not computed"));
  EXPECT_THAT(PageOf(Asking("cat-sat", "", {{"q_lengths", {"2"}}})), HasSubstr("score(cat, cat)"));
  const std::string empty = PageOf(Asking("cat-sat", "", {{"kv_lengths", {"0"}}}));
  EXPECT_THAT(empty, HasSubstr("There is no key that sat sees"));
  EXPECT_THAT(empty, Not(HasSubstr("weight(sat")));
}

// A case of zeros.
Case Zeros(std::vector<int64_t> query, std::vector<int64_t> key) {
  Case input;
  const auto fill = [&input](std::vector<int64_t> shape) {
    const auto bytes = static_cast<size_t>(TensorBytes(DataType::kFloat32, shape).value_or(0));
    auto zeros = std::make_shared<std::vector<std::byte>>(bytes);
    input.owners.push_back(zeros);
    return TensorView{DataType::kFloat32, std::move(shape), Fragments(*zeros)};
  };
  input.request.query = fill(std::move(query));
  input.request.key = fill(key);
  input.request.value = fill(std::move(key));
  return input;
}

TEST(ExplainPageTest, ShowsOneHead) {
  ExplainFlags flags;
  flags.head = {1, 3};
  const auto page = PageOf(flags, Zeros({2, 4, 2, 2}, {2, 2, 3, 2}));
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(*page, HasSubstr("Head 3 of 4, batch entry 1 of 2: "));
  EXPECT_THAT(*page, HasSubstr("those of key head 1 of 2, which 2 query heads share."));
  EXPECT_THAT(*page, HasSubstr("score(query 1, key 0) = 0*0 + 0*0"));
  flags.head = {0, 4};
  EXPECT_THAT(PageOf(flags, Zeros({2, 4, 2, 2}, {2, 2, 3, 2})), IsError(kInvalid, "--head: there is no 4 among 4"));
  flags.head = {2, 0};
  EXPECT_THAT(PageOf(flags, Zeros({2, 4, 2, 2}, {2, 2, 3, 2})), IsError(kInvalid, "--batch: there is no 2 among 2"));
}

TEST(ExplainPageTest, RefusesWhatNobodyReads) {
  EXPECT_THAT(PageOf({}, Zeros({16, 16}, {16, 16})), IsOk());
  EXPECT_THAT(PageOf({}, Zeros({17, 4}, {2, 4})),
              IsError(kInvalid, "too large to read: 17 queries, 2 keys, head_dim 4, value_dim 4"));
  EXPECT_THAT(PageOf({}, Zeros({1, 1, 3000, 64}, {1, 1, 3000, 64})), IsError(kInvalid, "attnctl heatmap"));
  EXPECT_THAT(PageOf({}, Zeros({0, 4}, {2, 4})), IsError(kInvalid, "nothing to explain"));
}

TEST(ExplainPageTest, RefusesAReplyThatLacksSomething) {
  Case input = Zeros({2, 2}, {2, 2});
  const auto plan = PrepareExplain({}, &input);
  ASSERT_THAT(plan, IsOk());
  codec::AttendReply reply = ReplyTo(input.request);
  reply.explain[3].second.values.pop_back();
  EXPECT_THAT(ExplainReply({}, input, *plan, reply),
              IsError(absl::StatusCode::kInternal, "'unscaled' has the wrong shape"));
  reply.explain.pop_back();
  reply.explain.erase(reply.explain.begin() + 3);
  EXPECT_THAT(ExplainReply({}, input, *plan, reply),
              IsError(absl::StatusCode::kInternal, "does not explain 'unscaled'"));
}

TEST(NumberTest, HasSixDecimalsOrDigits) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_THAT((std::vector{Number(0.5), Number(-1), Number(0), Number(-0.0), Number(1.0 / 3)}),
              ElementsAre("0.5", "-1", "0", "0", "0.333333"));
  EXPECT_THAT((std::vector{Number(0.00012345678), Number(1e-20), Number(2.5e9), Number(-kInf)}),
              ElementsAre("0.000123457", "1e-20", "2.5e+09", "-inf"));
  EXPECT_EQ(Operand(-2), "(-2)");
  EXPECT_EQ(Operand(2), "2");
}

TEST(DerivationTest, GoesOnBelow) {
  EXPECT_EQ(Derivation("x").IsTerms({"1*2", "3*4"}).IsSum({2, -12}).Is(-10).text(),
            "  x = 1*2 + 3*4\n"
            "    = 2 + (-12)\n"
            "    = -10\n");
  const std::string text = Derivation("long").IsTerms(std::vector<std::string>(30, "0.1234")).text();
  EXPECT_THAT(text, HasSubstr("\n         + 0.1234"));
  ExpectLinesFit(text);
}

}  // namespace
}  // namespace attnd::attnctl
