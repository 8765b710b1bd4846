// The same bits for every option: however often a request is asked, beside whatever else,
// on however many workers, and whatever is asked for beside the output.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "tests/support/isa.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

// Small cases with everything, and some that are cut into many claims and key blocks.
void ForCases(uint64_t seed, int small, int large, const std::function<void(const RequestCase&)>& check) {
  const int divisor = kSanitized ? 20 : 1;
  seed += FromEnvironment("ATTND_SEED", 0);
  for (int i = 0; i < (small + large) / divisor; ++i, ++seed) {
    const bool is_large = i >= small / divisor;
    const RequestCase c = RandomCase(seed, is_large ? RandomCaseOptions{.max_pairs = 400000, .length_factor = 6}
                                                    : RandomCaseOptions{.max_pairs = 20000});
    SCOPED_TRACE("seed " + std::to_string(seed) + (is_large ? " (large): " : ": ") + c.ToString());
    check(c);
    if (testing::Test::HasFailure()) return;
  }
}

// [outer, len, inner] cut to [outer, to_len, to_inner].
std::vector<float> Cut(const std::vector<float>& from, int64_t len, int64_t inner, int64_t to_len, int64_t to_inner) {
  std::vector<float> out;
  const int64_t block = len * inner;
  for (int64_t at = 0; block > 0 && at < static_cast<int64_t>(from.size()); at += block) {
    for (int64_t i = 0; i < to_len; ++i) {
      const auto row = from.begin() + at + i * inner;
      out.insert(out.end(), row, row + to_inner);
    }
  }
  return out;
}

TEST(OptionsBitsTest, RepeatsAreEqual) {
  ForCases(1, 2000, 30, [](const RequestCase& c) {
    const CaseResult first = RunCase(c, {});
    EXPECT_TRUE(SameResults(RunCase(c, {}), first));
  });
}

TEST(OptionsBitsTest, TilesMayRunInAnyOrder) {
  ForCases(10000, 50, 400, [](const RequestCase& c) {
    const CaseResult first = RunCase(c, {});
    for (const uint64_t shuffle_seed : {1, 2}) {
      EXPECT_TRUE(SameResults(RunCase(c, {.workers = 0, .shuffle_seed = shuffle_seed}), first));
    }
  });
}

TEST(OptionsBitsTest, AnyNumberOfWorkersGivesTheSameBits) {
  ForCases(20000, 50, 300, [](const RequestCase& c) {
    const CaseResult first = RunCase(c, {});
    for (const int workers : {1, 2, 3}) {
      EXPECT_TRUE(SameResults(RunCase(c, {.workers = workers, .shuffle_seed = {}}), first));
    }
  });
}

TEST(OptionsBitsTest, AnEntryAloneEqualsTheEntryInABatch) {
  ForCases(30000, 2000, 100, [](const RequestCase& c) {
    const CaseResult all = RunCase(c, {});
    RowCounts sum;
    for (int64_t b = 0; b < c.dims.batch; ++b) {
      SCOPED_TRACE(b);
      const CaseResult alone = RunCase(EntryOf(c, b), {});
      ASSERT_EQ(alone.entries.size(), 1U);
      EXPECT_TRUE(SameEntry(alone.entries[0], all.entries[static_cast<size_t>(b)]));
      sum.empty += alone.rows.empty;
      sum.non_finite += alone.rows.non_finite;
      sum.pairs += alone.rows.pairs;
    }
    EXPECT_EQ(sum.empty, all.rows.empty);
    EXPECT_EQ(sum.non_finite, all.rows.non_finite);
    EXPECT_EQ(sum.pairs, all.rows.pairs);
  });
}

TEST(OptionsBitsTest, PackedEqualsPaddedWithLengths) {
  ForCases(40000, 2000, 100, [](const RequestCase& original) {
    if (original.packed() || original.dims.batch == 0) return;
    RequestCase padded = original;
    if (padded.outputs.weights) padded.outputs.weights->rows.clear();
    const RequestCase packed = AsPacked(padded);
    const CaseResult expected = RunCase(padded, {});
    const CaseResult result = RunCase(packed, {});
    EXPECT_EQ(result.rows.empty, expected.rows.empty);
    EXPECT_EQ(result.rows.pairs, expected.rows.pairs);
    const Dims& dims = padded.dims;
    for (int64_t b = 0; b < dims.batch; ++b) {
      const EntryResult& entry = expected.entries[static_cast<size_t>(b)];
      const int64_t q_end = padded.QueryEnd(b);
      const int64_t kv_end = padded.KeyEnd(b);
      EntryResult used;
      used.output = Cut(entry.output, dims.q_len, dims.value_dim, q_end, dims.value_dim);
      used.lse = Cut(entry.lse, dims.q_len, 1, q_end, 1);
      used.weights = Cut(entry.weights, dims.q_len, dims.kv_len, q_end, kv_end);
      used.scores = Cut(entry.scores, dims.q_len, dims.kv_len, q_end, kv_end);
      EXPECT_TRUE(SameEntry(result.entries[static_cast<size_t>(b)], used)) << b;
    }
  });
}

TEST(OptionsBitsTest, AskingForMoreChangesNothingElse) {
  ForCases(50000, 2500, 60, [](RequestCase c) {
    const std::optional<DataType> dtype = c.outputs.dtype;
    c.outputs = {.dtype = dtype, .lse = true, .weights = WeightsOutput(), .scores = ScoreStage::kBiased};
    const CaseResult all = RunCase(c, {});
    std::vector<AttentionOutputs> subsets(6);
    subsets[1].lse = true;
    subsets[2].weights = WeightsOutput();
    subsets[3].scores = ScoreStage::kBiased;
    subsets[4] = {.lse = true, .scores = ScoreStage::kBiased};
    subsets[5] = {.weights = WeightsOutput(), .scores = ScoreStage::kBiased};
    for (AttentionOutputs& outputs : subsets) {
      outputs.dtype = dtype;
      c.outputs = outputs;
      EXPECT_TRUE(SameResults(RunCase(c, {}), all));
    }
  });
}

TEST(OptionsBitsTest, AskingForMeansListedRowsOrAnotherStageChangesNothingElse) {
  ForCases(60000, 2500, 60, [](RequestCase c) {
    const std::optional<DataType> dtype = c.outputs.dtype;
    c.outputs = {.dtype = dtype, .lse = true, .scores = ScoreStage::kScaled};
    const CaseResult scores = RunCase(c, {});
    c.outputs = {.dtype = dtype, .lse = true, .weights = WeightsOutput{.mean = true, .rows = {}}};
    const CaseResult mean = RunCase(c, {});
    EXPECT_TRUE(SameResults(mean, scores));
    c.outputs.scores = ScoreStage::kScaled;
    EXPECT_TRUE(SameResults(RunCase(c, {}), scores));
    EXPECT_TRUE(SameResults(RunCase(c, {}), mean));
    if (c.packed() || c.dims.q_len < 2 || c.dims.batch == 0) return;
    // The last row and the first, out of order.
    c.outputs.weights->rows = {c.dims.q_len - 1, 0};
    const CaseResult listed = RunCase(c, {});
    EXPECT_TRUE(
        SameEntry({listed.entries[0].output, listed.entries[0].lse, {}, listed.entries[0].scores}, scores.entries[0]));
    const int64_t kv_len = c.dims.kv_len;
    for (size_t b = 0; b < listed.entries.size(); ++b) {
      const auto row = [&](const std::vector<float>& weights, int64_t i) {
        return std::vector<float>(weights.begin() + i * kv_len, weights.begin() + (i + 1) * kv_len);
      };
      EntryResult actual;
      EntryResult expected;
      actual.weights = listed.entries[b].weights;
      expected.weights = row(mean.entries[b].weights, c.dims.q_len - 1);
      const std::vector<float> first = row(mean.entries[b].weights, 0);
      expected.weights.insert(expected.weights.end(), first.begin(), first.end());
      EXPECT_TRUE(SameEntry(actual, expected)) << b;
    }
  });
}

TEST(OptionsBitsTest, ListedRowsOfPackedQueriesAreThoseOfAllRows) {
  int looked_at = 0;
  ForCases(70000, 2500, 60, [&looked_at](RequestCase c) {
    int64_t total = 0;
    for (int64_t b = 0; b < c.dims.batch; ++b) total += c.packed() ? c.QueryCount(b) : 0;
    if (total == 0) return;
    ++looked_at;
    for (const bool mean : {false, true}) {
      c.outputs = {.dtype = c.outputs.dtype, .weights = WeightsOutput{.mean = mean, .rows = {}}};
      const CaseResult all = RunCase(c, {});
      // Every row, the last first.
      for (int64_t row = total; row > 0; --row) c.outputs.weights->rows.push_back(row - 1);
      CaseResult listed = RunCase(c, {});
      for (int64_t b = 0; b < c.dims.batch; ++b) {
        std::vector<float>& weights = listed.entries[static_cast<size_t>(b)].weights;
        const int64_t q_count = c.QueryCount(b);
        const int64_t kv_count = c.KeyCount(b);
        std::vector<float> in_order(weights.size());
        for (int64_t row = 0; row < (mean ? 1 : c.dims.heads) * q_count; ++row) {
          const int64_t from = row / q_count * q_count + q_count - 1 - row % q_count;
          std::copy_n(weights.begin() + from * kv_count, kv_count, in_order.begin() + row * kv_count);
        }
        weights = in_order;
      }
      EXPECT_TRUE(SameResults(listed, all)) << (mean ? "mean" : "each");
    }
  });
  EXPECT_GT(looked_at, 0);
}

}  // namespace
}  // namespace attnd
