// Random combinations of everything that multi-head attention can be asked, against the
// float64 oracle of the whole chain.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/multihead_case.h"
#include "tests/support/random_case.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

// lse of a reference, entry after entry [heads, q_len], as the contract orders it.
template <typename Real>
std::vector<Real> LseAsAsked(const std::vector<Real>& lse, const AttentionPlan& plan) {
  if (plan.layout != Layout::kPacked) return lse;
  std::vector<Real> ordered(lse.size());
  size_t from = 0;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    for (int64_t h = 0; h < plan.dims.heads; ++h) {
      for (int64_t q = 0; q < plan.queries.count[b]; ++q)
        ordered[static_cast<size_t>(plan.LseAt(b, h, q))] = lse[from++];
    }
  }
  return ordered;
}

// The projections of a reference, [rows, heads * dim], as explain gives them.
template <typename Real>
std::vector<Real> HeadsFirst(const std::vector<Real>& rows, const AttentionPlan& plan, int64_t heads, int64_t len,
                             int64_t dim) {
  if (plan.layout == Layout::kPacked) return rows;
  std::vector<Real> ordered;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < len; ++t) {
        const auto begin = rows.begin() + ((b * len + t) * heads + h) * dim;
        ordered.insert(ordered.end(), begin, begin + dim);
      }
    }
  }
  return ordered;
}

class Checker {
 public:
  explicit Checker(const MultiHeadCase& c)
      : case_(c),
        plan_(c.Plan()),
        exact_(ReferenceMultiHead<double>(c.request, c.weights)),
        plain_(ReferenceMultiHead<float>(c.request, c.weights)) {}

  void Check(const MultiHeadResult& result) const {
    const AttentionResult& a = result.attention;
    EXPECT_EQ(a.output.dtype, plan_.output_dtype);
    EXPECT_TRUE(AlmostEqual(FloatsOf(a.output), exact_.output, OutputTolerance(case_.request, case_.weights, exact_),
                            a.output.shape));
    EXPECT_EQ(a.lse.has_value(), case_.request.outputs.lse);
    if (a.lse)
      Near("lse", *a.lse, LseAsAsked(exact_.heads.lse, plan_.attention), LseAsAsked(plain_.heads.lse, plan_.attention));
    if (a.weights) Near("weights", *a.weights, exact_.heads.weights, plain_.heads.weights);
    if (a.scores) Near("scores", *a.scores, exact_.heads.scores, plain_.heads.scores);
    for (const NamedResult& named : result.explain) CheckNamed(named);
  }

 private:
  // Twice the error of plain float32 and what rounding the largest score can do.
  void Near(const std::string& name, const ResultTensor& tensor, const std::vector<double>& exact,
            const std::vector<float>& plain) const {
    ASSERT_EQ(exact.size(), plain.size());
    double error = 0;
    double largest = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      const double e = std::abs(RoundTo(tensor.dtype, static_cast<double>(plain[i])) - exact[i]);
      if (std::isfinite(e)) error = std::max(error, e);
      if (std::isfinite(exact[i])) largest = std::max(largest, std::abs(exact[i]));
    }
    const double tolerance = 2 * error + std::ldexp(1 + exact_.heads.magnitude, -22) * std::max(1.0, largest);
    EXPECT_TRUE(AlmostEqual(FloatsOf(tensor), exact, tolerance, tensor.shape)) << name;
  }

  void CheckNamed(const NamedResult& named) const {
    const AttentionPlan& a = plan_.attention;
    const Dims& d = a.dims;
    const auto heads_first = [&](const auto& rows) {
      if (named.name == "query") return HeadsFirst(rows, a, d.heads, d.q_len, d.head_dim);
      return HeadsFirst(rows, a, d.kv_heads, d.kv_len, named.name == "key" ? d.head_dim : d.value_dim);
    };
    if (named.name == "query") return Near("query", named.tensor, heads_first(exact_.query), heads_first(plain_.query));
    if (named.name == "key") return Near("key", named.tensor, heads_first(exact_.key), heads_first(plain_.key));
    if (named.name == "value") return Near("value", named.tensor, heads_first(exact_.value), heads_first(plain_.value));
    // Rows outside q_lengths hold anything.
    if (!a.q_used.uniform() || a.q_used[0] != d.q_len) return;
    if (named.name == "context") return Near("context", named.tensor, exact_.context, plain_.context);
    if (named.name == "attention") return Near("attention", named.tensor, exact_.attention, plain_.attention);
    EXPECT_TRUE(named.name == "attention_norm" || named.name == "residual") << named.name;
    Near(named.name, named.tensor, exact_.hidden, plain_.hidden);
  }

  const MultiHeadCase& case_;
  const MultiHeadPlan plan_;
  const MultiHeadReference<double> exact_;
  const MultiHeadReference<float> plain_;
};

class MultiHeadPropertyTest : public testing::TestWithParam<uint64_t> {};

TEST_P(MultiHeadPropertyTest, IsWhatTheOracleSays) {
  const uint64_t cases = FromEnvironment("ATTND_PROPERTY_CASES", 500);
  const uint64_t first = FromEnvironment("ATTND_PROPERTY_SEED", GetParam() * 1'000'000);
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    const MultiHeadCase c = RandomMultiHeadCase(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const auto result = RunMultiHead(c);
    ASSERT_THAT(result.status(), IsOk());
    Checker(c).Check(*result);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MultiHeadPropertyTest, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace attnd
