// Diagnostics made in one pass over strips, at the edges of what is kept of them. Every run
// has a thread, and so scratch memory, of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/expected_summaries.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

RequestCase CaseOf(int64_t rows, int64_t keys, int64_t dim) {
  RequestCase c;
  c.dims = {.batch = 1, .heads = 2, .kv_heads = 1, .q_len = rows, .kv_len = keys, .head_dim = dim, .value_dim = dim};
  Random random(static_cast<uint64_t>(keys));
  for (const auto& [tensor, heads, len] :
       {std::tuple{&c.query, 2, rows}, std::tuple{&c.key, 1, keys}, std::tuple{&c.value, 1, keys}}) {
    tensor->shape = {1, heads, len, dim};
    for (int64_t i = 0; i < heads * len * dim; ++i) tensor->numbers.push_back(random.Normal());
  }
  AskForSummaries(1, c);
  c.outputs.diagnostics = DiagnosticsOutput{.rows = true};
  c.options.alignment = Alignment::kBottomRight;
  return c;
}

void ExpectRight(const RequestCase& c) {
  for (const EngineKind engine : {EngineKind::kFused, EngineKind::kOnednn}) {
    const auto result = RunForResult(c, {.workers = 1, .engine = engine});
    ASSERT_TRUE(result.ok());
    EXPECT_TRUE(SummariesMatch(c, *result)) << EngineName(engine);
  }
}

// Blocks of keys end at fixed places: a few keys may lie in two of them.
TEST(StripStatisticsTest, FewKeysOnBothSidesOfABlocksEnd) {
  for (const auto& [begin, end] : {std::pair{127, 129}, std::pair{122, 135}, std::pair{255, 257}, std::pair{7, 130}}) {
    RequestCase c = CaseOf(75, 300, 8);
    c.options.kv_starts = {begin};
    c.options.kv_lengths = {end};
    ExpectRight(c);
  }
}

TEST(StripStatisticsTest, ShortBlocksOfWideHeads) {
  RequestCase c = CaseOf(40, kSanitized ? 70 : 150, 2100);
  ExpectRight(c);
}

// The last strip is narrower than the others, and sees other keys.
TEST(StripStatisticsTest, StripsThatEndAtOddKeys) {
  for (int64_t rows = 17; rows <= 80; ++rows) {
    RequestCase c = CaseOf(rows, 300, 8);
    c.dims.heads = 1;
    c.query.shape[1] = 1;
    c.query.numbers.resize(static_cast<size_t>(rows * 8));
    auto& documents = c.options.documents.emplace();
    for (int64_t q = 0; q < rows; ++q) documents.query_ids.push_back(q < rows - 8 ? 2 : 1);
    for (int64_t k = 0; k < 300; ++k) documents.key_ids.push_back(k < 99 ? 1 : 2);
    ExpectRight(c);
  }
}

// A mask of numbers, as models write it: finite, but its exp is 0 beside any other score. So all
// but what counts visible keys is as if the keys were hidden.
TEST(StripStatisticsTest, TheLowestBiasIsAsGoodAsHidden) {
  RequestCase lowest = CaseOf(40, 400, 8);
  CaseTensor& bias = lowest.biases.emplace_back();
  bias.shape = {1, 1, 1, 400};
  for (int64_t k = 0; k < 400; ++k) bias.numbers.push_back(k < 270 ? std::numeric_limits<float>::lowest() : 0.0F);
  RequestCase hidden = lowest;
  for (float& x : hidden.biases[0].numbers) x = x < 0 ? -std::numeric_limits<float>::infinity() : x;
  for (const EngineKind engine : {EngineKind::kFused, EngineKind::kOnednn}) {
    const auto a = RunForResult(lowest, {.workers = 1, .engine = engine});
    const auto b = RunForResult(hidden, {.workers = 1, .engine = engine});
    ASSERT_TRUE(a.ok() && b.ok());
    for (const Statistic s : {Statistic::kEntropy, Statistic::kDistance, Statistic::kLargest, Statistic::kWindow}) {
      for (int64_t row = 0; row < 80; ++row) {
        const float expected = (*b->diagnostics->rows)[static_cast<size_t>(s)].data.floats()[row];
        const float actual = (*a->diagnostics->rows)[static_cast<size_t>(s)].data.floats()[row];
        // Blocks differ, and with them the order of some 130 terms.
        EXPECT_NEAR(actual, expected, expected * 0x1p-17) << NameOf(s) << " of row " << row;
      }
    }
  }
}

// What is kept depends on the entry's keys alone.
TEST(StripStatisticsTest, ALongSequenceBesideItChangesNoBit) {
  constexpr int64_t kLong = 180'000;
  RequestCase alone = CaseOf(40, 700, 8);
  alone.layout = Layout::kPacked;
  alone.options.q_lengths = {40};
  alone.options.kv_lengths = {700};
  RequestCase both = CaseOf(40, kLong, 8);
  both.dims.batch = 2;
  both.layout = Layout::kPacked;
  both.options.q_lengths = {40, 1};
  both.options.kv_lengths = {700, kLong};
  for (const auto& [to, from, heads] : {std::tuple{&both.query, &alone.query, 2}, std::tuple{&both.key, &alone.key, 1},
                                        std::tuple{&both.value, &alone.value, 1}}) {
    const CaseTensor second = *to;
    const int64_t len = second.shape[2];
    to->shape[0] = 2;
    to->numbers.assign(static_cast<size_t>(2 * heads * len * 8), 0.0F);
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t own = from->shape[2];
      std::copy_n(from->numbers.begin() + h * own * 8, own * 8, to->numbers.begin() + h * len * 8);
      std::copy_n(second.numbers.begin() + h * len * 8, len * 8, to->numbers.begin() + (heads + h) * len * 8);
    }
  }
  for (RequestCase* c : {&alone, &both}) {
    c->outputs = {};
    c->outputs.diagnostics.emplace();
  }
  const auto one = RunForResult(alone, {.workers = 1});
  const auto two = RunForResult(both, {.workers = 1});
  ASSERT_TRUE(one.ok() && two.ok());
  for (size_t i = 0; i < kStatistics; ++i) {
    const Buffer& a = one->diagnostics->heads[i].data;
    EXPECT_EQ(std::memcmp(a.data(), two->diagnostics->heads[i].data.data(), a.size()), 0)
        << NameOf(static_cast<Statistic>(i));
  }
}

}  // namespace
}  // namespace attnd
