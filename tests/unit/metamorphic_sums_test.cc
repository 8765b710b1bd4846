// Relations between results: weights times values are the output, and parts of the keys
// merge into the whole by their LSE.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/isa.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr double kNegInf = -std::numeric_limits<double>::infinity();

double LargestFinite(const std::vector<float>& numbers) {
  double largest = 0;
  for (const float x : numbers) {
    if (std::isfinite(x)) largest = std::max(largest, static_cast<double>(std::abs(x)));
  }
  return largest;
}

// Cases with float32 results and no NaN in sight of a row.
void ForCases(uint64_t seed, int count, const std::function<void(const RequestCase&)>& check) {
  seed += FromEnvironment("ATTND_SEED", 0);
  for (int i = 0; i < (kSanitized ? count / 20 : count); ++i, ++seed) {
    RequestCase c = RandomCase(seed, {.max_pairs = 20000, .visible_nan_percent = 0});
    c.outputs = {.dtype = DataType::kFloat32, .lse = true, .weights = WeightsOutput()};
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + c.ToString());
    check(c);
    if (testing::Test::HasFailure()) return;
  }
}

// sum_j weights[j] value[j] of a row, of the keys that have weight.
std::vector<double> Weighted(const RequestCase& c, int64_t b, int64_t h, const float* weights) {
  std::vector<double> sum(static_cast<size_t>(c.dims.value_dim));
  const int64_t kv_head = h / c.dims.group();
  for (int64_t j = 0; j < c.KeyCount(b); ++j) {
    if (weights[j] == 0) continue;
    const float* value =
        c.value.numbers.data() + ((b * c.dims.kv_heads + kv_head) * c.dims.kv_len + j) * c.dims.value_dim;
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += static_cast<double>(weights[j]) * static_cast<double>(value[e]);
  }
  return sum;
}

TEST(MetamorphicSumsTest, WeightsTimesValuesAreTheOutput) {
  ForCases(1, 2000, [](const RequestCase& c) {
    const CaseResult result = RunCase(c, {});
    const ExpectedResult expected = Expect(c);
    const double keys = static_cast<double>(c.dims.kv_len);
    const double output_tolerance =
        expected.output_tolerance + keys * expected.weights_tolerance * LargestFinite(c.value.numbers);
    for (int64_t b = 0; b < c.dims.batch; ++b) {
      const EntryResult& entry = result.entries[static_cast<size_t>(b)];
      const int64_t rows = c.dims.heads * c.QueryCount(b);
      std::vector<double> output;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t h = r / c.QueryCount(b);
        const float* weights = entry.weights.data() + r * c.KeyCount(b);
        const std::vector<double> row = Weighted(c, b, h, weights);
        output.insert(output.end(), row.begin(), row.end());
        const auto lse = static_cast<double>(entry.lse[static_cast<size_t>(r)]);
        const double sink = c.sinks ? std::exp(static_cast<double>(c.sinks->numbers[static_cast<size_t>(h)]) - lse) : 0;
        double sum = 0;
        for (int64_t j = 0; j < c.KeyCount(b); ++j) sum += static_cast<double>(weights[j]);
        // A row with neither keys nor a sink has nothing that could add up.
        if (lse != kNegInf) {
          EXPECT_NEAR(sum + sink, 1, keys * expected.weights_tolerance + 2 * expected.lse_tolerance + 1e-6) << r;
        } else {
          EXPECT_EQ(sum, 0);
        }
      }
      EXPECT_TRUE(AlmostEqual(entry.output, output, output_tolerance,
                              std::vector{c.dims.heads, c.QueryCount(b), c.dims.value_dim}));
    }
  });
}

// Combines two results over disjoint keys in float64.
struct Merged {
  std::vector<float> output;
  std::vector<float> lse;
};
Merged Merge(const EntryResult& a, const EntryResult& b, size_t value_dim) {
  Merged merged;
  for (size_t r = 0; r < a.lse.size(); ++r) {
    const auto lse_a = static_cast<double>(a.lse[r]);
    const auto lse_b = static_cast<double>(b.lse[r]);
    const double max = std::max(lse_a, lse_b);
    const double base = max == kNegInf ? 0 : max;
    const double weight_a = std::exp(lse_a - base);
    const double weight_b = std::exp(lse_b - base);
    const double sum = weight_a + weight_b;
    merged.lse.push_back(static_cast<float>(max == kNegInf ? kNegInf : base + std::log(sum)));
    for (size_t e = r * value_dim; e < (r + 1) * value_dim; ++e) {
      const double both = weight_a * static_cast<double>(a.output[e]) + weight_b * static_cast<double>(b.output[e]);
      merged.output.push_back(static_cast<float>(sum == 0 ? 0 : both / sum));
    }
  }
  return merged;
}

// The case over keys below `at`, with the sinks, and over the others, without.
std::pair<RequestCase, RequestCase> SplitAt(RequestCase c, int64_t at) {
  AttentionOptions& o = c.options;
  std::vector<int64_t> q_offset;
  for (int64_t b = 0; b < c.dims.batch; ++b) q_offset.push_back(c.KeyEnd(b) - c.QueryEnd(b));
  if (o.alignment == Alignment::kBottomRight) o.q_offset = q_offset;
  if (o.alignment == Alignment::kBottomRight) o.alignment = Alignment::kOffset;
  c.outputs.weights.reset();
  std::pair<RequestCase, RequestCase> parts{c, c};
  parts.second.sinks.reset();
  std::vector<int64_t> ends;
  std::vector<int64_t> cuts;
  std::vector<int64_t> starts;
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    ends.push_back(c.KeyEnd(b));
    cuts.push_back(std::clamp(at, c.KeyBegin(b), c.KeyEnd(b)));
    starts.push_back(c.KeyBegin(b));
  }
  parts.first.options.kv_starts = starts;
  parts.first.options.kv_lengths = cuts;
  parts.second.options.kv_starts = cuts;
  parts.second.options.kv_lengths = ends;
  return parts;
}

TEST(MetamorphicSumsTest, PartsOfTheKeysMergeIntoTheWhole) {
  ForCases(100000, 2000, [](const RequestCase& c) {
    if (c.packed()) return;
    const ExpectedResult expected = Expect(c);
    double largest_lse = 0;
    for (const auto& entry : expected.entries) {
      for (const double lse : entry.lse) {
        if (std::isfinite(lse)) largest_lse = std::max(largest_lse, std::abs(lse));
      }
    }
    // A part's output is as near its own truth as the whole's, and the shares are as good
    // as the LSEs.
    const auto [first, second] = SplitAt(c, (c.dims.kv_len + 1) / 3);
    const ExpectedResult one = Expect(first);
    const ExpectedResult other = Expect(second);
    const double shares = 2 * (one.lse_tolerance + other.lse_tolerance) * LargestFinite(c.value.numbers);
    const double tolerance = std::max(one.output_tolerance, other.output_tolerance) + shares;
    const CaseResult a = RunCase(first, {});
    const CaseResult b = RunCase(second, {});
    for (size_t n = 0; n < a.entries.size(); ++n) {
      const Merged merged = Merge(a.entries[n], b.entries[n], static_cast<size_t>(c.dims.value_dim));
      const std::vector<int64_t> shape = {c.dims.heads, c.dims.q_len};
      EXPECT_TRUE(AlmostEqual(merged.output, expected.entries[n].output, tolerance, shape));
      EXPECT_TRUE(AlmostEqual(merged.lse, expected.entries[n].lse,
                              one.lse_tolerance + other.lse_tolerance + std::ldexp(largest_lse, -24), shape));
    }
  });
}

// The contract: within 1e-6 max|V| of the whole, for logits of ordinary size.
TEST(MetamorphicSumsTest, MergedPartsAreWithinAMillionthOfTheWhole) {
  int checked = 0;
  for (uint64_t seed = 200000; checked < (kSanitized ? 5 : 300); ++seed) {
    RequestCase c = RandomCase(seed, {.max_pairs = 50000, .garbage_percent = 0, .visible_nan_percent = 0});
    if (c.packed() || LargestFinite(c.query.numbers) > 6 || c.options.scale.has_value() || c.alibi_slopes) continue;
    ++checked;
    c.biases.clear();
    c.sinks.reset();
    c.outputs = {.dtype = DataType::kFloat32, .lse = true};
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + c.ToString());
    const CaseResult whole = RunCase(c, {});
    for (const int64_t at : {int64_t{1}, c.dims.kv_len / 2, c.dims.kv_len - 1}) {
      const auto [first, second] = SplitAt(c, at);
      const CaseResult a = RunCase(first, {});
      const CaseResult b = RunCase(second, {});
      for (size_t n = 0; n < a.entries.size(); ++n) {
        const Merged merged = Merge(a.entries[n], b.entries[n], static_cast<size_t>(c.dims.value_dim));
        const std::vector<double> output(whole.entries[n].output.begin(), whole.entries[n].output.end());
        EXPECT_TRUE(AlmostEqual(merged.output, output, 1e-6 * LargestFinite(c.value.numbers),
                                std::vector{c.dims.heads, c.dims.q_len, c.dims.value_dim}));
      }
    }
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace attnd
