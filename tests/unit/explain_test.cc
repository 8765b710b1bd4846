// That what explains a result are the numbers that it was made of, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/simd_rows.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/explained.h"

namespace attnd {
namespace {

RequestCase Asking(RequestCase c, AttentionOutputs outputs) {
  c.outputs = std::move(outputs);
  return c;
}

RequestCase Explained(const RequestCase& c) {
  AttentionOutputs outputs = c.outputs;
  outputs.explain = true;
  return Asking(c, outputs);
}

testing::AssertionResult SameTensor(const ResultTensor& actual, const ResultTensor& expected) {
  if (actual.dtype != expected.dtype) return testing::AssertionFailure() << "another type";
  if (actual.shape != expected.shape) return testing::AssertionFailure() << "another shape";
  const size_t size = expected.data.size();
  if (actual.data.size() == size && (size == 0 || std::memcmp(actual.data.data(), expected.data.data(), size) == 0)) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "other bits";
}

// The explained numbers are those that a request for them alone returns.
void ExpectSameAsAskedFor(const RequestCase& c, EngineKind engine, const AttentionResult& explained) {
  std::vector<std::pair<const char*, ScoreStage>> stages = {
      {"unscaled", ScoreStage::kUnscaled}, {"scaled", ScoreStage::kScaled}, {"biased", ScoreStage::kBiased}};
  if (c.options.softcap) stages.emplace_back("capped", ScoreStage::kCapped);
  EXPECT_EQ(explained.explain.size(), stages.size() + 6);
  for (const auto& [name, stage] : stages) {
    const AttentionOutputs outputs = {.dtype = DataType::kFloat32, .weights = WeightsOutput(), .scores = stage};
    const AttentionResult asked = Compute(Asking(c, outputs), engine);
    ASSERT_NE(Find(explained, name), nullptr) << name;
    EXPECT_TRUE(SameTensor(*Find(explained, name), *asked.scores)) << name;
    EXPECT_TRUE(SameTensor(*Find(explained, "weights"), *asked.weights));
    EXPECT_TRUE(SameTensor(*Find(explained, "output"), asked.output));
  }
}

// Everything else stays as it is.
void ExpectSameOthers(const AttentionResult& actual, const AttentionResult& expected) {
  EXPECT_TRUE(SameTensor(actual.output, expected.output));
  for (const auto& [what, a, e] :
       {std::tuple{"lse", &actual.lse, &expected.lse}, std::tuple{"weights", &actual.weights, &expected.weights},
        std::tuple{"scores", &actual.scores, &expected.scores}}) {
    ASSERT_EQ(a->has_value(), e->has_value()) << what;
    if (!a->has_value()) continue;
    EXPECT_TRUE(SameTensor(**a, **e)) << what;
  }
  EXPECT_EQ(actual.rows.empty, expected.rows.empty);
  EXPECT_EQ(actual.rows.non_finite, expected.rows.non_finite);
  EXPECT_EQ(actual.rows.pairs, expected.rows.pairs);
  EXPECT_EQ(actual.tiles, expected.tiles);
}

// The oracle hides the same keys.
void ExpectVisible(const RequestCase& c, const AttentionResult& explained) {
  const ExpectedResult expected = Expect(Asking(c, {.dtype = DataType::kFloat32, .scores = ScoreStage::kBiased}));
  const std::vector<float> visible = FloatsOf(*Find(explained, "visible"));
  size_t at = 0;
  int64_t pairs = 0;
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    const auto& scores = expected.entries[static_cast<size_t>(b)].scores;
    ASSERT_LE(at + scores.size(), visible.size());
    for (size_t i = 0; i < scores.size(); ++i, ++at) {
      const auto row = static_cast<int64_t>(i) / c.KeyCount(b);
      const bool sees = row % c.QueryCount(b) < c.QueryEnd(b) && scores[i] != -std::numeric_limits<double>::infinity();
      ASSERT_EQ(visible[at], sees ? 1.0F : 0.0F) << "entry " << b << " element " << i;
      if (sees) ++pairs;
    }
  }
  EXPECT_EQ(at, visible.size());
  EXPECT_EQ(pairs, explained.rows.pairs);
}

// A sum of products and the sum of their magnitudes.
struct Products {
  double sum = 0;
  double magnitude = 0;
  // Of the second factors.
  double reach = 0;
  // Of float32: each product and each sum rounds once, and a factor may underflow.
  [[nodiscard]] double tolerance(int64_t terms) const {
    return std::ldexp(magnitude, -23) * static_cast<double>(terms) + std::ldexp(reach, -126);
  }
};

Products Dot(const float* a, const float* b, int64_t n) {
  Products dot;
  for (int64_t i = 0; i < n; ++i) {
    const double product = static_cast<double>(a[i]) * static_cast<double>(b[i]);
    dot.sum += product;
    dot.magnitude += std::abs(product);
    dot.reach += std::abs(static_cast<double>(b[i]));
  }
  return dot;
}

// Query and key give the unscaled scores, weights and value give the output, in any layout.
void ExpectConsistent(const RequestCase& c, const AttentionResult& explained) {
  const auto plan = PlanAttention(BuildRequest(Explained(c)), {});
  ASSERT_THAT(plan, IsOk());
  const auto data = [&](const char* name) { return Find(explained, name)->data.floats(); };
  const Dims& dims = plan->dims;
  for (int64_t b = 0; b < dims.batch; ++b) {
    const int64_t kv_len = plan->keys.count[b];
    for (int64_t head = 0; head < dims.heads; ++head) {
      for (int64_t q = 0; q < plan->q_used[b]; ++q) {
        const int64_t kv_head = head / dims.group();
        const float* query = data("query") + plan->QueryAt(b, head, q);
        const int64_t row = plan->PairsAt(*plan->explain, b, head, q);
        std::vector<Products> output(static_cast<size_t>(dims.value_dim));
        for (int64_t k = 0; k < kv_len; ++k) {
          const Products dot = Dot(query, data("key") + plan->KeyAt(b, kv_head, k), dims.head_dim);
          const float unscaled = data("unscaled")[row + k];
          if (std::isfinite(dot.magnitude)) {
            ASSERT_NEAR(unscaled, dot.sum, dot.tolerance(dims.head_dim));
          }
          const float weight = data("weights")[row + k];
          for (int64_t d = 0; d < dims.value_dim && data("visible")[row + k] == 1; ++d) {
            const Products term = Dot(&weight, data("value") + plan->ValueAt(b, kv_head, k) + d, 1);
            output[static_cast<size_t>(d)].sum += term.sum;
            output[static_cast<size_t>(d)].magnitude += term.magnitude;
            output[static_cast<size_t>(d)].reach += term.reach;
          }
        }
        for (int64_t d = 0; d < dims.value_dim; ++d) {
          const Products& sum = output[static_cast<size_t>(d)];
          const float actual = data("output")[plan->OutputAt(b, head, q) + d];
          // Weights are within some rounding errors of a difference of scores of up to 100.
          if (std::isfinite(sum.magnitude)) {
            ASSERT_NEAR(actual, sum.sum, sum.tolerance(kv_len + 100));
          }
        }
      }
    }
  }
}

class ExplainTest : public ::testing::TestWithParam<EngineKind> {};

TEST_P(ExplainTest, IsWhatTheResultsAreMadeOf) {
  const uint64_t base = FromEnvironment("ATTND_SEED", 20260301);
  const uint64_t cases = FromEnvironment("ATTND_CASES", kSanitized ? 40 : 600);
  SpoilPool();
  for (uint64_t seed = base; seed < base + cases && !HasFailure(); ++seed) {
    const RequestCase c = RandomCase(seed, {.max_pairs = seed % 16 == 0 ? 20000 : 2000});
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const AttentionResult explained = Compute(Explained(c), GetParam());
    ExpectSameOthers(explained, Compute(c, GetParam()));
    ExpectSameAsAskedFor(c, GetParam(), explained);
    ExpectVisible(c, explained);
    ExpectConsistent(c, explained);
  }
}

// So many keys are cut into parts that several workers share, whose sums are merged.
TEST_P(ExplainTest, SplitEntriesToo) {
  for (const auto& [rows, keys] : {std::pair<int64_t, int64_t>{1, 20000}, std::pair<int64_t, int64_t>{7, 9001}}) {
    RequestCase c;
    c.dims = {.batch = 1, .heads = 1, .kv_heads = 1, .q_len = rows, .kv_len = keys, .head_dim = 8, .value_dim = 8};
    for (const auto& [tensor, len] : {std::pair{&c.query, rows}, std::pair{&c.key, keys}, std::pair{&c.value, keys}}) {
      tensor->shape = {1, 1, len, 8};
      for (int64_t i = 0; i < len * 8; ++i) tensor->numbers.push_back(static_cast<float>(i * 7919 % 1009) / 400 - 1);
    }
    const AttentionResult explained = Compute(Explained(c), GetParam());
    ExpectSameAsAskedFor(c, GetParam(), explained);
  }
}

// Queries, keys and values as they came, in float32 and in their shapes.
TEST_P(ExplainTest, ShowsInputsAsTheProductsTakeThem) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    RequestCase c = RandomCase(seed, {.max_pairs = 500});
    c.options.rope.reset();
    const AttentionRequest request = BuildRequest(c);
    const AttentionResult explained = Compute(Explained(c), GetParam());
    for (const auto& [name, tensor] :
         {std::pair{"query", &request.query}, std::pair{"key", &request.key}, std::pair{"value", &request.value}}) {
      const ResultTensor& shown = *Find(explained, name);
      EXPECT_EQ(shown.shape, tensor->shape);
      std::vector<std::byte> bytes(tensor->bytes.size());
      tensor->bytes.CopyTo(bytes.data());
      std::vector<float> floats(shown.data.size() / sizeof(float));
      if (!floats.empty()) {
        simd::LoadRow(bytes.data(), tensor->dtype, static_cast<int64_t>(floats.size()), floats.data());
        EXPECT_EQ(std::memcmp(floats.data(), shown.data.data(), shown.data.size()), 0) << name << " of seed " << seed;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, ExplainTest, testing::Values(EngineKind::kFused, EngineKind::kOnednn),
                         [](const auto& engine) { return EngineName(engine.param); });

}  // namespace
}  // namespace attnd
