// Summaries of weights have the same bits whoever computes them and in whatever company, and
// change no bit of anything else.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/expected_summaries.h"
#include "tests/support/isa.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

void ForCases(uint64_t seed, int small, int large, const std::function<void(const RequestCase&)>& check) {
  const int divisor = kSanitized ? 20 : 1;
  for (int i = 0; i < (small + large) / divisor && !testing::Test::HasFailure(); ++i, ++seed) {
    const bool is_large = i >= small / divisor;
    RequestCase c = RandomCase(seed, is_large ? RandomCaseOptions{.max_pairs = 400000, .length_factor = 6}
                                              : RandomCaseOptions{.max_pairs = 20000});
    AskForSummaries(seed, c);
    SCOPED_TRACE("seed " + std::to_string(seed) + (is_large ? " (large): " : ": ") + c.ToString());
    check(c);
  }
}

void ExpectSameWithWorkers(const RequestCase& c) {
  const auto first = RunForResult(c, {});
  ASSERT_TRUE(first.ok());
  for (const int workers : {1, 2, 3}) {
    const auto result = RunForResult(c, {.workers = workers});
    ASSERT_TRUE(result.ok());
    EXPECT_TRUE(SameSummaries(*result, *first)) << workers << " workers";
  }
  const auto shuffled = RunForResult(c, {.workers = 0, .shuffle_seed = 1});
  ASSERT_TRUE(shuffled.ok());
  EXPECT_TRUE(SameSummaries(*shuffled, *first)) << "in another order";
}

TEST(SummariesBitsTest, AnyNumberOfWorkersGivesTheSameBits) { ForCases(1, 300, 200, ExpectSameWithWorkers); }

// Entries that are cut into parts of their keys, and many rows in strips of all widths.
TEST(SummariesBitsTest, SplitEntriesAndLongOnesToo) {
  const std::vector<std::pair<int, int>> sizes =
      kSanitized ? std::vector<std::pair<int, int>>{{1, 9000}, {9, 8500}, {77, 500}}
                 : std::vector<std::pair<int, int>>{{1, 20000}, {9, 17000}, {333, 1500}};
  for (const auto& [rows, keys] : sizes) {
    RequestCase c;
    c.dims = {.batch = 1, .heads = 2, .kv_heads = 1, .q_len = rows, .kv_len = keys, .head_dim = 8, .value_dim = 8};
    for (const auto& [tensor, heads, len] :
         {std::tuple{&c.query, 2, rows}, std::tuple{&c.key, 1, keys}, std::tuple{&c.value, 1, keys}}) {
      tensor->shape = {1, heads, len, 8};
      for (int64_t i = 0; i < int64_t{8} * heads * len; ++i) {
        tensor->numbers.push_back(static_cast<float>(i * 7919 % 1009) / 400 - 1);
      }
    }
    AskForSummaries(static_cast<uint64_t>(rows), c);
    ExpectSameWithWorkers(c);
    const auto result = RunForResult(c, {});
    ASSERT_TRUE(result.ok());
    EXPECT_TRUE(SummariesMatch(c, *result)) << rows << " rows";
  }
}

// What of a batch's per-head results belongs to entry `b`.
bool SameBlock(const ResultTensor& all, const ResultTensor& alone, int64_t b) {
  const size_t bytes = alone.data.size();
  return all.data.size() >= (static_cast<size_t>(b) + 1) * bytes &&
         (bytes == 0 || std::memcmp(all.data.data() + static_cast<size_t>(b) * bytes, alone.data.data(), bytes) == 0);
}

template <typename T>
bool SamePart(const std::vector<T>& all, const std::vector<T>& alone, int64_t b) {
  const auto n = static_cast<int64_t>(alone.size());
  return static_cast<int64_t>(all.size()) >= (b + 1) * n && std::equal(alone.begin(), alone.end(), all.begin() + b * n);
}

// What a packed sequence has of heads does not depend on the others.
TEST(SummariesBitsTest, ASequenceAloneEqualsThePackedOne) {
  ForCases(7000, 2000, 100, [](RequestCase c) {
    if (!c.packed()) return;
    c.outputs.top_k.reset();
    const auto all = RunForResult(c, {});
    ASSERT_TRUE(all.ok());
    size_t cells = 0;
    for (int64_t b = 0; b < c.dims.batch; ++b) {
      const auto alone = RunForResult(EntryOf(c, b), {});
      ASSERT_TRUE(alone.ok());
      for (size_t i = 0; i < kStatistics; ++i) {
        EXPECT_TRUE(SameBlock(all->diagnostics->heads[i], alone->diagnostics->heads[i], b)) << i;
      }
      EXPECT_TRUE(SameBlock(all->diagnostics->column_mass, alone->diagnostics->column_mass, b));
      EXPECT_TRUE(SamePart(all->diagnostics->column_keys, alone->diagnostics->column_keys, b));
      EXPECT_TRUE(SamePart(all->diagnostics->patterns, alone->diagnostics->patterns, b));
      const Buffer& mean = alone->heatmap->mean.data;
      EXPECT_TRUE(mean.size() == 0 ||
                  std::memcmp(all->heatmap->mean.data.data() + cells, mean.data(), mean.size()) == 0);
      cells += mean.size();
    }
  });
}

TEST(SummariesBitsTest, AnEntryAloneEqualsTheEntryInABatch) {
  ForCases(2000, 1000, 100, [](RequestCase c) {
    if (c.packed()) return;
    c.outputs.top_k->rows.clear();
    const auto all = RunForResult(c, {});
    ASSERT_TRUE(all.ok());
    for (int64_t b = 0; b < c.dims.batch; ++b) {
      const auto alone = RunForResult(EntryOf(c, b), {});
      ASSERT_TRUE(alone.ok());
      for (size_t i = 0; i < kStatistics; ++i) {
        EXPECT_TRUE(SameBlock(all->diagnostics->heads[i], alone->diagnostics->heads[i], b)) << i;
        if (!c.outputs.diagnostics->rows) continue;
        EXPECT_TRUE(SameBlock((*all->diagnostics->rows)[i], (*alone->diagnostics->rows)[i], b)) << i;
      }
      EXPECT_TRUE(SameBlock(all->diagnostics->column_mass, alone->diagnostics->column_mass, b));
      EXPECT_TRUE(SameBlock(all->diagnostics->pattern_scores, alone->diagnostics->pattern_scores, b));
      EXPECT_TRUE(SameBlock(all->top_k->weights, alone->top_k->weights, b));
      EXPECT_TRUE(SameBlock(all->heatmap->mean, alone->heatmap->mean, b));
      EXPECT_TRUE(SameBlock(all->heatmap->max, alone->heatmap->max, b));
      EXPECT_TRUE(SamePart(all->top_k->keys, alone->top_k->keys, b));
      EXPECT_TRUE(SamePart(all->diagnostics->column_keys, alone->diagnostics->column_keys, b));
      EXPECT_TRUE(SamePart(all->diagnostics->patterns, alone->diagnostics->patterns, b));
    }
  });
}

TEST(SummariesBitsTest, AskingForOneChangesNoOther) {
  ForCases(4000, 1000, 50, [](const RequestCase& c) {
    const auto all = RunForResult(c, {});
    ASSERT_TRUE(all.ok());
    RequestCase plain = c;
    plain.outputs.top_k.reset();
    plain.outputs.diagnostics.reset();
    plain.outputs.heatmap.reset();
    EXPECT_TRUE(SameResults(RunCase(plain, {}), RunCase(c, {})));
    RequestCase statistics = plain;
    statistics.outputs.diagnostics = c.outputs.diagnostics;
    const auto one = RunForResult(statistics, {});
    ASSERT_TRUE(one.ok());
    const DiagnosticsResult& a = *all->diagnostics;
    const DiagnosticsResult& o = *one->diagnostics;
    for (size_t i = 0; i < kStatistics; ++i) {
      EXPECT_TRUE(SameBlock(a.heads[i], o.heads[i], 0)) << i;
      EXPECT_TRUE(!a.rows || SameBlock((*a.rows)[i], (*o.rows)[i], 0)) << i;
    }
    EXPECT_EQ(a.column_keys, o.column_keys);
    EXPECT_EQ(a.patterns, o.patterns);
    EXPECT_TRUE(SameBlock(a.column_mass, o.column_mass, 0));
    RequestCase top_k = plain;
    top_k.outputs.weights.reset();
    top_k.outputs.top_k = c.outputs.top_k;
    const auto largest = RunForResult(top_k, {});
    ASSERT_TRUE(largest.ok());
    EXPECT_TRUE(SameBlock(all->top_k->weights, largest->top_k->weights, 0));
    EXPECT_EQ(all->top_k->keys, largest->top_k->keys);
    RequestCase heatmap = plain;
    heatmap.outputs.heatmap = c.outputs.heatmap;
    const auto cells = RunForResult(heatmap, {});
    ASSERT_TRUE(cells.ok());
    EXPECT_TRUE(SameBlock(all->heatmap->mean, cells->heatmap->mean, 0));
    EXPECT_TRUE(SameBlock(all->heatmap->max, cells->heatmap->max, 0));
  });
}

// Of equal weights the lower key comes first, in top-k and among columns.
TEST(SummariesBitsTest, TiesGoToTheLowerKey) {
  RequestCase c;
  c.dims = {.batch = 1, .heads = 1, .kv_heads = 1, .q_len = 40, .kv_len = 700, .head_dim = 8, .value_dim = 8};
  for (CaseTensor* tensor : {&c.query, &c.key, &c.value}) {
    tensor->shape = {1, 1, tensor == &c.query ? 40 : 700, 8};
    tensor->numbers.assign(static_cast<size_t>(tensor->shape[2] * 8), 0.5F);
  }
  AskForSummaries(1, c);
  c.outputs.top_k = TopKOutput{.k = 130, .rows = {}};
  c.outputs.diagnostics->columns = 5;
  const auto result = RunForResult(c, {});
  ASSERT_TRUE(result.ok());
  for (int64_t q = 0; q < 40; ++q) {
    for (int64_t i = 0; i < 130; ++i) ASSERT_EQ(result->top_k->keys[static_cast<size_t>(q * 130 + i)], i);
  }
  EXPECT_EQ(result->diagnostics->column_keys, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(result->diagnostics->patterns.front(), Pattern::kUniform);
}

}  // namespace
}  // namespace attnd
