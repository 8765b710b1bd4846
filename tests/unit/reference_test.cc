// The oracle itself, against formulas written out by hand.
#include "core/attention/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/support/attention_problem.h"
#include "tests/support/compare.h"

namespace attnd {
namespace {

ProblemSpec Spec(const Dims& dims) {
  ProblemSpec spec;
  spec.dims = dims;
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  return spec;
}

// Two queries, two keys, one dimension: the weight of key 0 is 1 / (1 + e^(s1 - s0)).
TEST(ReferenceTest, TwoByTwoFollowsTheLogisticFunction) {
  AttentionProblem problem(Spec({1, 1, 1, 2, 2, 1, 1}));
  problem.query = {0.7F, -1.3F};
  problem.key = {0.4F, 2.1F};
  problem.value = {3, -5};
  const auto result = ReferenceAttention<double>(problem.Request());
  for (size_t i = 0; i < 2; ++i) {
    const double s0 = static_cast<double>(problem.query[i]) * static_cast<double>(0.4F);
    const double s1 = static_cast<double>(problem.query[i]) * static_cast<double>(2.1F);
    const double w0 = 1 / (1 + std::exp(s1 - s0));
    EXPECT_NEAR(result.weights[2 * i], w0, 1e-15);
    EXPECT_NEAR(result.weights[2 * i + 1], 1 - w0, 1e-15);
    EXPECT_NEAR(result.output[i], 3 * w0 - 5 * (1 - w0), 1e-14);
    EXPECT_NEAR(result.lse[i], s0 - std::log(w0), 1e-14);
  }
}

TEST(ReferenceTest, OneKeyIsReturnedWhole) {
  AttentionProblem problem(Spec({2, 3, 3, 4, 1, 5, 6}));
  const auto result = ReferenceAttention<double>(problem.Request());
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t c = 0; c < 6; ++c) {
          const auto at = static_cast<size_t>(((b * 3 + h) * 4 + i) * 6 + c);
          EXPECT_EQ(result.output[at], problem.ValueRow(b, h, 0)[c]);
        }
      }
    }
  }
}

TEST(ReferenceTest, QueryHeadsShareKeyHeadsInNeighbouringGroups) {
  AttentionProblem problem(Spec({1, 6, 2, 1, 1, 3, 1}));
  const auto result = ReferenceAttention<double>(problem.Request());
  for (size_t h = 0; h < 6; ++h) EXPECT_EQ(result.output[h], problem.value[h / 3]) << h;
}

TEST(ReferenceTest, CausalRowsAreMeansOfWhatTheySee) {
  ProblemSpec spec = Spec({1, 1, 1, 4, 4, 2, 1});
  spec.options.scale = 0;
  spec.options.causal = true;
  AttentionProblem problem(spec);
  problem.value = {2, 4, 9, 5};
  const auto result = ReferenceAttention<double>(problem.Request());
  EXPECT_EQ(result.output, (std::vector<double>{2, 3, 5, 5}));
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(result.lse[i], std::log(static_cast<double>(i + 1)), 1e-15);
  EXPECT_EQ(result.weights[1], 0);
  EXPECT_EQ(result.weights[4], 0.5);
}

TEST(ReferenceTest, ARowWithoutAKeyIsZeroWithMinusInfinity) {
  ProblemSpec spec = Spec({1, 1, 1, 3, 1, 2, 2});
  spec.options.causal = true;
  spec.options.alignment = Alignment::kBottomRight;
  const AttentionProblem problem(spec);
  const auto result = ReferenceAttention<double>(problem.Request());
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(result.output[2 * i], 0);
    EXPECT_EQ(result.weights[i], 0);
    EXPECT_EQ(result.lse[i], -std::numeric_limits<double>::infinity());
  }
  EXPECT_EQ(result.weights[2], 1);
}

TEST(ReferenceTest, HiddenKeysAndValuesAreNotRead) {
  ProblemSpec spec = Spec({1, 1, 1, 2, 2, 2, 2});
  spec.options.causal = true;
  AttentionProblem problem(spec);
  problem.KeyRow(0, 0, 1)[0] = std::nanf("");
  problem.ValueRow(0, 0, 1)[1] = std::nanf("");
  const auto result = ReferenceAttention<double>(problem.Request());
  EXPECT_EQ(result.output[0], problem.ValueRow(0, 0, 0)[0]);
  EXPECT_TRUE(std::isnan(result.output[2]));
}

TEST(ReferenceTest, LayoutsAgree) {
  ProblemSpec spec = Spec({1, 1, 1, 5, 7, 3, 4});
  const AttentionProblem heads_first(spec);
  spec.layout = Layout::kTokensFirst;  // the same bytes when there is one head
  const AttentionProblem tokens_first(spec);
  EXPECT_EQ(ReferenceAttention<double>(heads_first.Request()).output,
            ReferenceAttention<double>(tokens_first.Request()).output);
}

TEST(ReferenceTest, FloatFollowsDouble) {
  const AttentionProblem problem(Spec({2, 2, 1, 20, 30, 16, 16}));
  const auto exact = ReferenceAttention<double>(problem.Request());
  const auto plain = ReferenceAttention<float>(problem.Request());
  EXPECT_TRUE(AlmostEqual(plain.output, exact.output, 1e-5, OutputShape(problem.plan())));
  EXPECT_GT(WorstError(plain.output, exact.output), 0) << "float is not double in disguise";
}

TEST(ReferenceTest, ToleranceGrowsWithValuesAndLogits) {
  const auto tolerance = [](float query_factor, float value_factor) {
    ProblemSpec spec = Spec({1, 1, 1, 10, 20, 16, 16});
    spec.query_factor = query_factor;
    AttentionProblem problem(spec);
    for (float& v : problem.value) v *= value_factor;
    return OutputTolerance(problem.Request(), ReferenceAttention<double>(problem.Request()));
  };
  EXPECT_GT(tolerance(1, 1), 0);
  EXPECT_LT(tolerance(1, 1), 1e-4);
  EXPECT_NEAR(tolerance(1, 1024) / tolerance(1, 1), 1024, 1e-6);
  EXPECT_GT(tolerance(100, 1), 10 * tolerance(1, 1));
}

TEST(ReferenceTest, ToleranceIsFiniteBesideNan) {
  AttentionProblem problem(Spec({1, 1, 1, 10, 20, 16, 16}));
  problem.KeyRow(0, 0, 3)[0] = std::nanf("");
  problem.ValueRow(0, 0, 4)[0] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isfinite(OutputTolerance(problem.Request(), ReferenceAttention<double>(problem.Request()))));
}

}  // namespace
}  // namespace attnd
