#include "core/attention/visibility.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace attnd {
namespace {

constexpr int64_t kFar = int64_t{1} << 61;

// The rule, one pair at a time.
bool Sees(int64_t q, int64_t k, int64_t shift) { return k <= q + shift; }

bool Contains(const KeyRange& range, int64_t k) { return range.begin <= k && k < range.end; }

// Checks every question that can be asked of entry `b` against the rule `sees`.
template <typename Rule>
void ExpectFollows(const Visibility& visibility, int64_t b, int64_t q_len, int64_t kv_len, const Rule& sees) {
  double pairs = 0;
  for (int64_t q = 0; q < q_len; ++q) {
    const KeyRange keys = visibility.Keys(b, q);
    EXPECT_GE(keys.begin, 0);
    EXPECT_LE(keys.end, kv_len);
    int64_t seen = 0;
    for (int64_t k = 0; k < kv_len; ++k) {
      EXPECT_EQ(Contains(keys, k), sees(q, k)) << "query " << q << ", key " << k;
      seen += sees(q, k) ? 1 : 0;
    }
    EXPECT_EQ(keys.size(), seen);
    EXPECT_EQ(keys.empty(), seen == 0);
    pairs += static_cast<double>(seen);
  }
  EXPECT_EQ(visibility.Pairs(b), pairs);

  for (int64_t begin = 0; begin < q_len; ++begin) {
    for (int64_t end = begin + 1; end <= q_len; ++end) {
      const KeyRange any = visibility.SeenByAny(b, begin, end);
      const KeyRange all = visibility.SeenByAll(b, begin, end);
      for (int64_t k = 0; k < kv_len; ++k) {
        int64_t seers = 0;
        for (int64_t q = begin; q < end; ++q) seers += sees(q, k) ? 1 : 0;
        EXPECT_EQ(Contains(any, k), seers > 0) << "queries " << begin << ".." << end << ", key " << k;
        EXPECT_EQ(Contains(all, k), seers == end - begin) << "queries " << begin << ".." << end << ", key " << k;
      }
    }
  }
}

TEST(VisibilityTest, WithoutRulesEveryQuerySeesEveryKey) {
  for (const int64_t q_len : {0, 1, 5}) {
    for (const int64_t kv_len : {0, 1, 7}) {
      ExpectFollows(Visibility(q_len, kv_len), 0, q_len, kv_len, [](int64_t, int64_t) { return true; });
    }
  }
}

TEST(VisibilityTest, CausalSeesTheKeysUpToItsShiftedPosition) {
  for (int64_t q_len = 0; q_len <= 6; ++q_len) {
    for (int64_t kv_len = 0; kv_len <= 6; ++kv_len) {
      for (int64_t shift = -8; shift <= 8; ++shift) {
        SCOPED_TRACE("q_len " + std::to_string(q_len) + " kv_len " + std::to_string(kv_len) + " shift " +
                     std::to_string(shift));
        ExpectFollows(Visibility::Causal(q_len, kv_len, {shift}), 0, q_len, kv_len,
                      [shift](int64_t q, int64_t k) { return Sees(q, k, shift); });
      }
    }
  }
}

TEST(VisibilityTest, EachBatchEntryHasItsOwnShift) {
  const std::vector<int64_t> shifts = {0, -2, 3, 100, -100};
  const Visibility visibility = Visibility::Causal(5, 7, shifts);
  for (size_t b = 0; b < shifts.size(); ++b) {
    ExpectFollows(visibility, static_cast<int64_t>(b), 5, 7,
                  [&](int64_t q, int64_t k) { return Sees(q, k, shifts[b]); });
  }
}

TEST(VisibilityTest, OneShiftServesAllEntries) {
  const Visibility visibility = Visibility::Causal(3, 3, {1});
  for (const int64_t b : {0, 1, 1000}) {
    ExpectFollows(visibility, b, 3, 3, [](int64_t q, int64_t k) { return Sees(q, k, 1); });
  }
}

TEST(VisibilityTest, TheLargestShiftsDoNotOverflow) {
  ExpectFollows(Visibility::Causal(4, 4, {kFar}), 0, 4, 4, [](int64_t, int64_t) { return true; });
  ExpectFollows(Visibility::Causal(4, 4, {-kFar}), 0, 4, 4, [](int64_t, int64_t) { return false; });
}

TEST(VisibilityTest, PairsOfLongSequencesAreExact) {
  constexpr int64_t kLen = int64_t{1} << 20;
  EXPECT_EQ(Visibility(kLen, kLen).Pairs(0), 0x1p40);
  EXPECT_EQ(Visibility::Causal(kLen, kLen, {0}).Pairs(0), 0x1p39 + 0x1p19);
  EXPECT_EQ(Visibility::Causal(1, kLen, {kLen - 1}).Pairs(0), 0x1p20);
}

TEST(VisibilityTest, PairsMayPassTheLargestInteger) {
  constexpr int64_t kLen = int64_t{1} << 40;
  EXPECT_DOUBLE_EQ(Visibility(kLen, kLen).Pairs(0), 0x1p80);
  EXPECT_DOUBLE_EQ(Visibility::Causal(kLen, kLen, {0}).Pairs(0), 0x1p79 + 0x1p39);
}

}  // namespace
}  // namespace attnd
