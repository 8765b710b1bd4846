// Weights pooled into cells, and what they say of a head.
#include "client/attnctl/heatmap/weights_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "client/attnctl/heatmap/weights_statistics.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"

namespace attnd::attnctl {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Weights whose sums are exact in float64, some hidden.
struct Weights {
  Weights(int64_t queries, int64_t keys, uint32_t seed) : q_len(queries), kv_len(keys) {
    Random random(seed);
    for (int64_t i = 0; i < queries * keys; ++i) {
      visible.push_back(random.Below(4) == 0 ? 0 : 1);
      values.push_back(visible.back() == 0 ? 0 : static_cast<double>(random.Below(1024)) / 1024);
    }
  }

  [[nodiscard]] WeightsRow Row(int64_t query) const {
    const auto at = static_cast<size_t>(query * kv_len);
    const auto n = static_cast<size_t>(kv_len);
    return {std::span(values).subspan(at, n), std::span(visible).subspan(at, n)};
  }

  int64_t q_len;
  int64_t kv_len;
  std::vector<double> values;
  std::vector<uint8_t> visible;
};

picture::HeadMap Pooled(const Weights& weights, int64_t cells) {
  WeightsPool pool(weights.q_len, weights.kv_len, cells);
  for (int64_t query = 0; query < weights.q_len; ++query) pool.Add(query, weights.Row(query));
  picture::HeadMap head;
  pool.Finish(&head);
  return head;
}

struct Cell {
  float mean = std::numeric_limits<float>::quiet_NaN();
  float max = std::numeric_limits<float>::quiet_NaN();
};

// Pair by pair.
Cell Expected(const Weights& weights, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  double sum = 0;
  double largest = 0;
  int64_t pairs = 0;
  for (int64_t q = row * weights.q_len / rows; q < (row + 1) * weights.q_len / rows; ++q) {
    if (HasNan(weights.Row(q))) continue;
    for (int64_t k = column * weights.kv_len / columns; k < (column + 1) * weights.kv_len / columns; ++k) {
      const auto at = static_cast<size_t>(q * weights.kv_len + k);
      if (weights.visible[at] == 0) continue;
      sum += weights.values[at];
      largest = std::max(largest, weights.values[at]);
      ++pairs;
    }
  }
  if (pairs == 0) return {};
  return {static_cast<float>(sum / static_cast<double>(pairs)), static_cast<float>(largest)};
}

bool Same(float a, float b) { return std::isnan(a) ? std::isnan(b) : a == b; }

void ExpectPooled(const Weights& weights, int64_t cells) {
  const picture::HeadMap head = Pooled(weights, cells);
  ASSERT_EQ(head.rows, std::min(weights.q_len, cells));
  ASSERT_EQ(head.columns, std::min(weights.kv_len, cells));
  const bool single = head.rows == weights.q_len && head.columns == weights.kv_len;
  ASSERT_EQ(head.max.empty(), single);
  for (int64_t row = 0; row < head.rows; ++row) {
    for (int64_t column = 0; column < head.columns; ++column) {
      const Cell expected = Expected(weights, row, head.rows, column, head.columns);
      const auto at = static_cast<size_t>(row * head.columns + column);
      ASSERT_TRUE(Same(head.mean[at], expected.mean)) << row << ", " << column << ": " << head.mean[at];
      ASSERT_TRUE(single || Same(head.max[at], expected.max)) << row << ", " << column;
    }
  }
}

TEST(WeightsPoolTest, IsWhatBruteForceGives) {
  struct Size {
    int64_t q_len;
    int64_t kv_len;
    int64_t cells;
  };
  for (const Size& size : {Size{7, 5, 3}, Size{5, 7, 4}, Size{12, 12, 4}, Size{1, 9, 2}, Size{9, 1, 2}, Size{3, 40, 8},
                           Size{6, 6, 6}, Size{6, 6, 512}, Size{13, 11, 12}, Size{101, 97, 1}}) {
    SCOPED_TRACE(testing::Message() << size.q_len << " x " << size.kv_len << " in " << size.cells);
    ExpectPooled(Weights(size.q_len, size.kv_len, 1), size.cells);
  }
}

TEST(WeightsPoolTest, IsRightForLongSequences) {
  const int64_t len = kSanitized ? 700 : 2048;
  ExpectPooled(Weights(len, len, 2), 512);
}

TEST(WeightsPoolTest, PassesOverRowsWithNan) {
  Weights weights(4, 4, 3);
  weights.values[4 * 1 + 2] = kNan;
  ExpectPooled(weights, 2);
  weights.values[4 * 0 + 1] = kNan;
  ExpectPooled(weights, 2);
  EXPECT_TRUE(std::isnan(Pooled(weights, 2).mean[0]));
}

TEST(WeightsPoolTest, HasNothingWhereNothingIsVisible) {
  Weights weights(2, 4, 4);
  weights.visible = {0, 0, 1, 1, 0, 0, 1, 1};
  const picture::HeadMap head = Pooled(weights, 2);
  EXPECT_TRUE(std::isnan(head.mean[0]));
  EXPECT_TRUE(std::isnan(head.max[0]));
  EXPECT_FALSE(std::isnan(head.mean[1]));
}

HeadFindings Find(int64_t kv_len, const std::vector<double>& weights, const std::vector<uint8_t>& visible,
                  std::optional<int64_t> offset = 0) {
  WeightsStatistics statistics(kv_len, offset);
  const auto n = static_cast<size_t>(kv_len);
  for (size_t at = 0; at < weights.size(); at += n) {
    statistics.Add(static_cast<int64_t>(at / n),
                   {std::span(weights).subspan(at, n), std::span(visible).subspan(at, n)});
  }
  return statistics.Find();
}

TEST(WeightsStatisticsTest, MeasuresEntropyAgainstWhatIsVisible) {
  // Causal, evenly: ln 1, ln 2 and ln 4 of as much.
  const std::vector<double> weights = {1, 0, 0, 0, 0.5, 0.5, 0, 0, 0.25, 0.25, 0.25, 0.25};
  const std::vector<uint8_t> visible = {1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1};
  const HeadFindings findings = Find(4, weights, visible, std::nullopt);
  EXPECT_DOUBLE_EQ(findings.entropy, std::log(8.0) / 3);
  EXPECT_DOUBLE_EQ(findings.evenness, 1);
  EXPECT_EQ(findings.pattern.pattern, Pattern::kSink);

  const HeadFindings seen = Find(4, weights, std::vector<uint8_t>(12, 1), std::nullopt);
  EXPECT_DOUBLE_EQ(seen.evenness, std::log(8.0) / (3 * std::log(4.0)));
}

TEST(WeightsStatisticsTest, CountsRowsWithWeightsOnly) {
  const std::vector<double> weights = {0.5, 0.5, 0, 0, kNan, 1};
  const HeadFindings findings = Find(2, weights, std::vector<uint8_t>(6, 1));
  EXPECT_DOUBLE_EQ(findings.entropy, std::log(2.0));
  EXPECT_EQ(findings.pattern.pattern, Pattern::kUniform);
  const HeadFindings none = Find(2, {0, 0, kNan, kNan}, {1, 1, 1, 1});
  EXPECT_EQ(none.pattern.pattern, Pattern::kEmpty);
  EXPECT_TRUE(std::isnan(none.entropy));
  EXPECT_TRUE(std::isnan(none.evenness));
}

TEST(WeightsStatisticsTest, GoesByPositionsIfTheyAreKnown) {
  const std::vector<double> weights = {0, 0.9, 0.1, 0, 0, 0.9, 0.9, 0, 0.1};
  const std::vector<uint8_t> all(9, 1);
  EXPECT_EQ(Find(3, weights, all).pattern.pattern, Pattern::kNext);
  EXPECT_EQ(Find(3, weights, all, 1).pattern.pattern, Pattern::kDiagonal);
  EXPECT_EQ(Find(3, weights, all, 2).pattern.pattern, Pattern::kPrevious);
  EXPECT_EQ(Find(3, weights, all, std::nullopt).pattern.pattern, Pattern::kMixed);
}

TEST(WeightsStatisticsTest, RowsThatSeeOneKeyAreEven) {
  EXPECT_EQ(Find(1, {1}, {1}).evenness, 1);
  const HeadFindings findings = Find(4, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1},
                                     {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, std::nullopt);
  EXPECT_EQ(findings.evenness, 1);
  EXPECT_EQ(findings.pattern.pattern, Pattern::kUniform);
}

TEST(WeightsStatisticsTest, TheFirstKeyIsKeyZeroThoughNoRowSeesIt) {
  const std::vector<double> weights = {0, 0.9, 0.1, 0, 0.9, 0.1, 0, 0.9, 0.1};
  const std::vector<uint8_t> padded = {0, 1, 1, 0, 1, 1, 0, 1, 1};
  EXPECT_EQ(Find(3, weights, padded).pattern.pattern, Pattern::kColumn);
  EXPECT_EQ(Find(3, weights, std::vector<uint8_t>(9, 1)).pattern.pattern, Pattern::kColumn);
  const std::vector<double> sink = {0.9, 0.1, 0, 0.9, 0.1, 0, 0.9, 0.1, 0};
  EXPECT_EQ(Find(3, sink, std::vector<uint8_t>(9, 1)).pattern.pattern, Pattern::kSink);
  EXPECT_FLOAT_EQ(Find(3, weights, padded).pattern.score, 0.9F);
}

}  // namespace
}  // namespace attnd::attnctl
