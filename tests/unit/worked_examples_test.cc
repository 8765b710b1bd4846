// Small cases that introductory texts print, with the exact values (float64, six
// decimals). Some published figures are wrong; these are not to be changed to match them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/engine.h"
#include "tests/support/attention_problem.h"
#include "tests/support/compare.h"

namespace attnd {
namespace {

// The figures have six decimals.
constexpr double kPrinted = 1e-6;

struct Example {
  std::vector<float> query;
  std::vector<float> key;
  std::vector<float> value;
  int64_t tokens = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  std::optional<float> scale = {};
  bool causal = false;
};

AttentionProblem ProblemOf(const Example& example) {
  ProblemSpec spec;
  spec.dims = {1, 1, 1, example.tokens, example.tokens, example.head_dim, example.value_dim};
  spec.options.scale = example.scale;
  spec.options.causal = example.causal;
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  AttentionProblem problem(spec);
  problem.query.assign(example.query.begin(), example.query.end());
  problem.key.assign(example.key.begin(), example.key.end());
  problem.value.assign(example.value.begin(), example.value.end());
  return problem;
}

// Engine and oracle both give these weights and outputs, from the given rows on.
void ExpectRows(const Example& example, const std::vector<double>& weights, int64_t weights_row,
                const std::vector<double>& output, int64_t output_row) {
  const AttentionProblem problem = ProblemOf(example);
  const EngineResult result = RunEngine(problem);
  const auto exact = ReferenceAttention<double>(problem.Request());
  const auto part = [](const auto& all, int64_t row, int64_t width, size_t n) {
    return std::span(all).subspan(static_cast<size_t>(row * width), n);
  };
  const std::vector<float> exact_weights(exact.weights.begin(), exact.weights.end());
  const std::vector<float> exact_output(exact.output.begin(), exact.output.end());
  for (const auto& [w, o] : {std::pair(&result.weights, &result.output), std::pair(&exact_weights, &exact_output)}) {
    EXPECT_TRUE(AlmostEqual(part(*w, weights_row, example.tokens, weights.size()), weights, kPrinted,
                            std::vector<int64_t>{static_cast<int64_t>(weights.size())}));
    EXPECT_TRUE(AlmostEqual(part(*o, output_row, example.value_dim, output.size()), output, kPrinted,
                            std::vector<int64_t>{static_cast<int64_t>(output.size())}));
  }
  ExpectMatchesReference(problem, result);
}

Example CatSat() {
  const std::vector<float> x = {0.2F, 0.8F, 0.1F, 0.9F, 0.3F, 0.7F, 0.4F, 0.6F, 0.5F};
  return {.query = x, .key = x, .value = x, .tokens = 3, .head_dim = 3, .value_dim = 3};
}

TEST(WorkedExamplesTest, TheCatSatUnscaled) {
  Example example = CatSat();
  example.scale = 1;
  ExpectRows(example, {.364718, .298606, .336677, .201962, .496746, .301292, .285989, .378400, .335611}, 0,
             {.476359, .583362, .413834, .607981, .491369, .518564, .532002, .543678, .461285}, 0);
}

TEST(WorkedExamplesTest, TheCatSatScaled) {
  ExpectRows(CatSat(), {.305601, .359222, .335177}, 2,
             {.486258, .576357, .422057, .562564, .522760, .483831, .518491, .553354, .449604}, 0);
}

TEST(WorkedExamplesTest, TheCatSatCausal) {
  Example example = CatSat();
  example.causal = true;
  ExpectRows(example, {1, 0, 0, .372942, .627058, 0}, 0, {.2, .8, .1, .638940, .486471, .476235}, 0);
}

TEST(WorkedExamplesTest, YouFoundMe) {
  const Example example = {.query = {.06F, .08F, .14F, .24F, .22F, .40F},
                           .key = {.04F, .08F, .12F, .20F, .20F, .32F},
                           .value = {.03F, .03F, .11F, .11F, .19F, .19F},
                           .tokens = 3,
                           .head_dim = 2,
                           .value_dim = 2};
  ExpectRows(example, {.329945, .333322, .336733, .323951, .333244, .342805, .317996, .333094, .348909}, 0,
             {.110543, .110543, .111508, .111508, .112473, .112473}, 0);
}

// One query against its key and a key of zeros.
TEST(WorkedExamplesTest, CatAgainstSat) {
  ProblemSpec spec;
  spec.dims = {1, 1, 1, 1, 2, 4, 1};
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  AttentionProblem problem(spec);
  problem.query = {.40F, -.05F, .23F, .21F};
  problem.key = {-.01F, .79F, -.07F, .53F, 0, 0, 0, 0};
  const EngineResult result = RunEngine(problem);
  EXPECT_NEAR(result.weights[0], .5065, 5e-5);
  // LSE = log(e^s + 1), so s is known from both.
  EXPECT_NEAR(result.lse[0] + std::log(result.weights[0]), .0517 / 2, 5e-5);
}

TEST(WorkedExamplesTest, PermutedTokensPermuteTheOutput) {
  constexpr int64_t kTokens = 12;
  for (const int64_t value_dim : {4, 6}) {
    ProblemSpec spec;
    spec.dims = {1, 1, 1, kTokens, kTokens, 4, value_dim};
    AttentionProblem problem(spec);
    AttentionProblem permuted(spec);
    const auto place = [](int64_t i) { return i * 5 % kTokens; };
    for (int64_t i = 0; i < kTokens; ++i) {
      std::copy_n(problem.QueryRow(0, 0, i), 4, permuted.QueryRow(0, 0, place(i)));
      std::copy_n(problem.KeyRow(0, 0, i), 4, permuted.KeyRow(0, 0, place(i)));
      std::copy_n(problem.ValueRow(0, 0, i), value_dim, permuted.ValueRow(0, 0, place(i)));
    }
    const EngineResult result = RunEngine(problem);
    const EngineResult shuffled = RunEngine(permuted);
    ASSERT_EQ(result.output.size(), static_cast<size_t>(kTokens * value_dim));
    for (int64_t i = 0; i < kTokens; ++i) {
      for (int64_t c = 0; c < value_dim; ++c) {
        EXPECT_NEAR(shuffled.output[static_cast<size_t>(place(i) * value_dim + c)],
                    result.output[static_cast<size_t>(i * value_dim + c)], 1e-6);
      }
    }
  }
}

// 8192 tokens have 256 MiB of scores per head; they count only when asked for.
TEST(WorkedExamplesTest, ScoresAreNotStoredUnlessAskedFor) {
  ProblemSpec spec;
  spec.dims = {1, 1, 1, 8192, 8192, 8, 8};
  EXPECT_EQ(AttentionProblem(spec).plan().output_bytes, 4 * 8192 * 8);
  spec.outputs.weights.emplace();
  EXPECT_EQ(AttentionProblem(spec).plan().output_bytes, 4 * 8192 * 8 + (int64_t{256} << 20));
}

}  // namespace
}  // namespace attnd
