// The engine against the float64 oracle, over shapes, options and magnitudes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/engine.h"
#include "tests/support/attention_problem.h"
#include "tests/support/compare.h"
#include "tests/support/isa.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr float kInf = std::numeric_limits<float>::infinity();

// Runs the problem and compares output, LSE and weights with the oracle.
EngineResult Check(ProblemSpec spec) {
  SCOPED_TRACE(spec.ToString());
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  const AttentionProblem problem(spec);
  EngineResult result = RunEngine(problem);
  ExpectMatchesReference(problem, result);
  return result;
}

ProblemSpec Spec(const Dims& dims) {
  ProblemSpec spec;
  spec.dims = dims;
  spec.seed = static_cast<uint64_t>(dims.q_len * 7919 + dims.kv_len * 31 + dims.head_dim);
  return spec;
}

TEST(KernelTest, EveryPairOfShortLengths) {
  for (const int64_t q_len : {1, 5, 15, 16, 17, 47, 48, 49}) {
    for (const int64_t kv_len : {1, 5, 15, 16, 17, 47, 48, 49}) {
      Check(Spec({1, 1, 1, q_len, kv_len, 24, 24}));
    }
  }
}

TEST(KernelTest, LongLengths) {
  std::vector<std::pair<int64_t, int64_t>> pairs = {{1, 255}, {1, 1025}, {255, 1}, {17, 256}, {257, 16}, {49, 513}};
  if (!kSanitized) {
    for (const int64_t q_len : {255, 256, 257}) {
      for (const int64_t kv_len : {255, 256, 257}) pairs.emplace_back(q_len, kv_len);
    }
    pairs.insert(pairs.end(), {{1025, 1}, {1025, 1025}, {5, 4097}, {48, 2048}});
  }
  for (const auto& [q_len, kv_len] : pairs) Check(Spec({1, 1, 1, q_len, kv_len, 40, 40}));
}

TEST(KernelTest, EveryHeadDimWithEveryValueDim) {
  for (const int64_t head_dim : {1, 3, 8, 40, 64, 80, 128, 256}) {
    for (const int64_t value_dim : {1, 3, 8, 40, 64, 80, 128, 256}) {
      Check(Spec({1, 1, 1, 17, 49, head_dim, value_dim}));
    }
  }
}

// Key blocks are shorter for wide heads: more than one block of each width.
TEST(KernelTest, WideHeadsOverSeveralKeyBlocks) {
  for (const int64_t dim : {256, 511, 1024, 4096}) {
    Check(Spec({1, 1, 1, 3, kSanitized ? 67 : 261, dim, dim}));
    Check(Spec({1, 1, 1, 3, kSanitized ? 67 : 261, dim, 1}));
    Check(Spec({1, 1, 1, 3, kSanitized ? 67 : 261, 1, dim}));
  }
}

TEST(KernelTest, BatchesAndHeadGroupsInBothLayouts) {
  for (const Layout layout : {Layout::kHeadsFirst, Layout::kTokensFirst}) {
    for (const auto& [heads, kv_heads] : {std::pair{1, 1}, {4, 4}, {4, 2}, {6, 2}, {8, 1}, {16, 2}}) {
      for (const int64_t q_len : {1, 7, 50}) {
        ProblemSpec spec = Spec({2, heads, kv_heads, q_len, 33, 20, 12});
        spec.layout = layout;
        Check(spec);
        spec.options.causal = true;
        spec.options.alignment = Alignment::kBottomRight;
        Check(spec);
      }
    }
  }
}

TEST(KernelTest, CausalInEveryAlignment) {
  const std::vector<std::pair<int64_t, int64_t>> lengths = {
      {1, 1}, {1, 49}, {49, 1}, {16, 16}, {17, 15}, {15, 17}, {47, 49}, {49, 47}, {100, 60}, {60, 100}, {130, 257}};
  for (const auto& [q_len, kv_len] : lengths) {
    for (const Alignment alignment : {Alignment::kTopLeft, Alignment::kBottomRight}) {
      for (const int64_t heads : {1, 3}) {
        ProblemSpec spec = Spec({1, heads, 1, q_len, kv_len, 16, 16});
        spec.options.causal = true;
        spec.options.alignment = alignment;
        Check(spec);
      }
    }
  }
}

TEST(KernelTest, CausalOverSeveralKeyBlocks) {
  const int64_t len = kSanitized ? 150 : 700;
  for (const int64_t dim : {64, 256}) {
    ProblemSpec spec = Spec({1, 2, 1, len, len + 13, dim, dim});
    spec.options.causal = true;
    for (const Alignment alignment : {Alignment::kTopLeft, Alignment::kBottomRight}) {
      spec.options.alignment = alignment;
      Check(spec);
    }
  }
}

TEST(KernelTest, OffsetsOfEverySize) {
  constexpr int64_t kFar = int64_t{1} << 60;
  for (const int64_t q_offset : {-kFar, int64_t{-60}, int64_t{-49}, int64_t{-1}, int64_t{3}, int64_t{48}, kFar}) {
    for (const int64_t k_offset : {-kFar, int64_t{-2}, int64_t{0}, int64_t{17}, kFar}) {
      ProblemSpec spec = Spec({1, 2, 1, 50, 49, 8, 8});
      spec.options.causal = true;
      spec.options.alignment = Alignment::kOffset;
      spec.options.q_offset = {q_offset};
      spec.options.k_offset = {k_offset};
      Check(spec);
    }
  }
}

TEST(KernelTest, EachEntryHasItsOwnOffset) {
  ProblemSpec spec = Spec({4, 2, 2, 20, 30, 8, 8});
  spec.options.causal = true;
  spec.options.alignment = Alignment::kOffset;
  spec.options.q_offset = {0, 10, -5, 1000};
  spec.options.k_offset = {0, 0, 20, 3};
  Check(spec);
}

TEST(KernelTest, Scales) {
  for (const float scale : {0.0F, -0.5F, 1.0F, 8.0F, 1e-3F, -1e-30F}) {
    ProblemSpec spec = Spec({1, 2, 1, 20, 70, 16, 16});
    spec.options.scale = scale;
    Check(spec);
  }
}

TEST(KernelTest, ScaleZeroIsTheMeanOfTheVisibleValues) {
  ProblemSpec spec = Spec({1, 1, 1, 3, 3, 4, 1});
  spec.options.scale = 0;
  spec.options.causal = true;
  AttentionProblem problem(spec);
  for (int64_t k = 0; k < 3; ++k) *problem.ValueRow(0, 0, k) = static_cast<float>(1 << (2 * k));  // 1, 4, 16
  EXPECT_EQ(RunEngine(problem).output, (std::vector<float>{1, 2.5F, 7}));
}

TEST(KernelTest, LargeLogits) {
  for (const float factor : {10.0F, 100.0F, 1e4F}) {
    for (const bool causal : {false, true}) {
      ProblemSpec spec = Spec({1, 2, 1, 40, 600, 64, 32});
      spec.query_factor = factor;
      spec.options.causal = causal;
      spec.options.alignment = Alignment::kBottomRight;
      Check(spec);
    }
  }
}

// The scale's own magnitude must not overflow where its products do not.
TEST(KernelTest, ScalesAtTheEndsOfTheRange) {
  for (const auto& [scale, factor] : {std::pair{3e38F, 2e-38F}, std::pair{1e-37F, 1e36F}, std::pair{-3e38F, 1e-37F}}) {
    ProblemSpec spec = Spec({1, 1, 1, 20, 40, 16, 16});
    spec.options.scale = scale;
    AttentionProblem problem(spec);
    // No element below the smallest normal number.
    for (float& q : problem.query) q = std::copysign(factor * (1 + 0.2F * std::abs(q)), q);
    SCOPED_TRACE(spec.ToString());
    ExpectMatchesReference(problem, RunEngine(problem));
  }
}

TEST(KernelTest, TheScaleComesAfterTheProduct) {
  // scale * q, or q * k, would leave the range of float32 on its own.
  struct Case {
    float scale, q, k;
  };
  for (const Case& c : {Case{1e19F, 1e20F, 1e-37F}, Case{1e-36F, 1e-3F, 1e38F}, Case{1e-39F, 1, 1e38F}}) {
    ProblemSpec spec = Spec({1, 1, 1, 1, 2, 1, 1});
    spec.options.scale = c.scale;
    AttentionProblem problem(spec);
    *problem.QueryRow(0, 0, 0) = c.q;
    *problem.KeyRow(0, 0, 0) = c.k;
    *problem.KeyRow(0, 0, 1) = 3 * c.k;
    SCOPED_TRACE(spec.ToString());
    ExpectMatchesReference(problem, RunEngine(problem));
  }
}

TEST(KernelTest, RisingAndFallingScoresKeepTheRunningMaximum) {
  for (const float direction : {1.0F, -1.0F}) {
    AttentionProblem problem(Spec({1, 1, 1, 3, 1500, 1, 2}));
    for (int64_t i = 0; i < 3; ++i) *problem.QueryRow(0, 0, i) = direction * static_cast<float>(i + 1);
    for (int64_t k = 0; k < 1500; ++k) *problem.KeyRow(0, 0, k) = 0.2F * static_cast<float>(k);
    const EngineResult result = RunEngine(problem);
    ExpectMatchesReference(problem, result);
  }
}

TEST(KernelTest, HugeValuesDoNotOverflow) {
  AttentionProblem problem(Spec({1, 1, 1, 10, 300, 8, 8}));
  for (float& v : problem.value) v *= 3e37F;
  const EngineResult result = RunEngine(problem);
  ExpectMatchesReference(problem, result);
  EXPECT_EQ(result.rows.non_finite, 0);
}

TEST(KernelTest, DenormalQueriesAndKeysGiveAMean) {
  ProblemSpec spec = Spec({1, 1, 1, 20, 70, 16, 16});
  spec.query_factor = 1e-40F;
  Check(spec);
  AttentionProblem problem(spec);
  for (float& k : problem.key) k *= 1e-41F;
  ExpectMatchesReference(problem, RunEngine(problem));
}

// Results below the smallest normal number may become 0; nothing else is lost.
TEST(KernelTest, DenormalValuesAreOffByLessThanTheSmallestNormal) {
  for (const float factor : {1e-36F, 1e-38F, 1e-41F}) {
    AttentionProblem problem(Spec({1, 1, 1, 20, 70, 16, 16}));
    for (float& v : problem.value) v *= factor;
    const auto exact = ReferenceAttention<double>(problem.Request());
    const double tolerance = OutputTolerance(problem.Request(), exact) + 0x1p-126;
    EXPECT_TRUE(AlmostEqual(RunEngine(problem).output, exact.output, tolerance, OutputShape(problem.plan())));
  }
}

TEST(KernelTest, WeightsTimesValuesIsTheOutput) {
  for (const bool causal : {false, true}) {
    ProblemSpec spec = Spec({2, 4, 2, 60, 90, 32, 24});
    spec.outputs = {.lse = true, .weights = WeightsOutput()};
    spec.options.causal = causal;
    spec.options.alignment = Alignment::kBottomRight;
    AttentionProblem problem(spec);
    const AttentionPlan& plan = problem.plan();
    const EngineResult result = RunEngine(problem);
    std::vector<double> product;
    size_t row = 0;
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t h = 0; h < 4; ++h) {
        for (int64_t i = 0; i < 60; ++i, ++row) {
          double sum = 0;
          for (int64_t c = 0; c < 24; ++c) product.push_back(0);
          for (int64_t k = 0; k < 90; ++k) {
            const double weight = result.weights[row * 90 + static_cast<size_t>(k)];
            sum += weight;
            const float* value = problem.ValueRow(b, h / 2, k);
            for (size_t c = 0; c < 24; ++c) product[row * 24 + c] += weight * value[c];
          }
          EXPECT_NEAR(sum, 1, 1e-5);
        }
      }
    }
    const auto exact = ReferenceAttention<double>(problem.Request());
    const Tolerances tolerances = TolerancesOf(problem.Request(), exact);
    EXPECT_TRUE(AlmostEqual(result.output, product, 2 * tolerances.output, OutputShape(plan)));
  }
}

TEST(KernelTest, RowsWithoutAKeyAreZeroWithMinusInfinity) {
  ProblemSpec spec = Spec({2, 4, 2, 60, 10, 8, 5});
  spec.options.causal = true;
  spec.options.alignment = Alignment::kBottomRight;
  const EngineResult result = Check(spec);
  EXPECT_EQ(result.rows.empty, 2 * 4 * 50);
  EXPECT_EQ(result.rows.non_finite, 0);
  for (size_t row = 0; row < size_t{2} * 4 * 60; ++row) {
    if (row % 60 >= 50) continue;
    EXPECT_EQ(result.lse[row], -kInf);
    for (size_t c = 0; c < 5; ++c) EXPECT_EQ(result.output[row * 5 + c], 0);
    for (size_t k = 0; k < 10; ++k) EXPECT_EQ(result.weights[row * 10 + k], 0);
  }
}

TEST(KernelTest, WithoutKeysEveryRowIsEmpty) {
  for (const bool causal : {false, true}) {
    ProblemSpec spec = Spec({2, 2, 1, 3, 0, 8, 5});
    spec.options.causal = causal;
    spec.options.alignment = Alignment::kTopLeft;
    const EngineResult result = Check(spec);
    EXPECT_EQ(result.rows.empty, 12);
    for (const float x : result.output) EXPECT_EQ(x, 0);
    for (const float x : result.lse) EXPECT_EQ(x, -kInf);
  }
}

TEST(KernelTest, NoRowIsCountedTwice) {
  const EngineResult result = Check(Spec({2, 6, 2, 49, 20, 8, 5}));
  EXPECT_EQ(result.rows.empty, 0);
  EXPECT_EQ(result.rows.non_finite, 0);
}

TEST(EngineTest, NamesAreParsed) {
  EXPECT_EQ(ParseEngine("onednn").value(), EngineKind::kOnednn);
  EXPECT_EQ(ParseEngine("fused").value(), EngineKind::kFused);
  EXPECT_TRUE(ParseEngine("auto").ok());
  EXPECT_EQ(EngineNames().front(), "auto");
  for (const auto& name : EngineNames()) EXPECT_THAT(ParseEngine(name), IsOk());
  for (const char* name : {"", "oneDNN", "fused ", "cuda"}) {
    EXPECT_THAT(ParseEngine(name), IsError(absl::StatusCode::kInvalidArgument, "onednn, fused"));
  }
}

TEST(EngineTest, EachThreadHasOneEngineOfAKind) {
  TileEngine& engine = EngineForThisThread(TestEngine());
  EXPECT_EQ(&engine, &EngineForThisThread(TestEngine()));
  EXPECT_GT(RowsPerTile(TestEngine(), AttentionProblem(Spec({1, 1, 1, 20, 30, 8, 8})).plan()), 0);
}

TEST(EngineTest, NumericsIdNamesWhatTheBitsDependOn) {
  const std::string id = NumericsId(TestEngine());
  EXPECT_NE(id.find(EngineName(TestEngine())), std::string::npos) << id;
  EXPECT_EQ(id.find(OnednnVersion()) != std::string::npos, TestEngine() == EngineKind::kOnednn) << id;
  EXPECT_FALSE(KernelIsa().empty());
  EXPECT_EQ(id, NumericsId(TestEngine()));
}

}  // namespace
}  // namespace attnd
