#include "core/attention/visibility.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/random.h"

namespace attnd {
namespace {

constexpr int64_t kFar = int64_t{1} << 61;

bool Contains(const KeyRange& range, int64_t k) { return range.begin <= k && k < range.end; }

Visibility Everything(int64_t kv_len) {
  Visibility visibility;
  visibility.kv_end = kv_len;
  return visibility;
}

Visibility Causal(int64_t kv_len, PerEntry shift) {
  Visibility visibility = Everything(kv_len);
  visibility.causal = true;
  visibility.shift = std::move(shift);
  return visibility;
}

// Checks every query of entry `b` against the rule `sees`, whose keys lie side by side.
template <typename Rule>
void ExpectFollows(const Visibility& visibility, int64_t b, int64_t q_len, int64_t kv_len, const Rule& sees) {
  double pairs = 0;
  for (int64_t q = 0; q < q_len; ++q) {
    const KeyRange keys = visibility.Keys(b, q);
    int64_t seen = 0;
    for (int64_t k = 0; k < kv_len; ++k) {
      ASSERT_EQ(Contains(keys, k), sees(q, k)) << "query " << q << ", key " << k;
      seen += sees(q, k) ? 1 : 0;
    }
    ASSERT_EQ(keys.size(), seen) << "keys that are not there, for query " << q;
    ASSERT_EQ(keys.empty(), seen == 0);
    if (keys.empty()) {
      ASSERT_EQ(keys.begin, 0);
      ASSERT_EQ(keys.end, 0);
    }
    pairs += static_cast<double>(seen);
  }
  EXPECT_EQ(visibility.Pairs(b, q_len), pairs);
}

TEST(KeyRangeTest, IntersectionsAndSizesOfEmptyRangesAreEmpty) {
  const KeyRange range{3, 7};
  EXPECT_EQ(range.size(), 4);
  EXPECT_EQ(range.Intersect({5, 100}).size(), 2);
  EXPECT_TRUE(range.Intersect({7, 9}).empty());
  EXPECT_EQ(range.Intersect({9, 20}).size(), 0);
}

TEST(PerEntryTest, OneNumberServesAllEntries) {
  const PerEntry all = 7;
  EXPECT_TRUE(all.uniform());
  EXPECT_EQ(all[0], 7);
  EXPECT_EQ(all[int64_t{1} << 60], 7);
  const PerEntry each(std::vector<int64_t>{1, 2, 3});
  EXPECT_FALSE(each.uniform());
  EXPECT_EQ(each[2], 3);
}

TEST(PerEntryTest, MapsCombineEveryMixture) {
  const auto minus = [](int64_t x, int64_t y) { return x - y; };
  const PerEntry all = 7;
  const PerEntry each(std::vector<int64_t>{1, 2, 3});
  EXPECT_TRUE(PerEntry::Map(minus, all, all).uniform());
  EXPECT_EQ(PerEntry::Map(minus, all, PerEntry(2))[5], 5);
  EXPECT_EQ(PerEntry::Map(minus, all, each)[2], 4);
  EXPECT_EQ(PerEntry::Map(minus, each, all)[0], -6);
  EXPECT_EQ(PerEntry::Map(minus, each, each)[1], 0);
  EXPECT_EQ(PerEntry::Map([](int64_t x) { return 2 * x; }, each)[2], 6);
  EXPECT_EQ(PerEntry::Map([](int64_t x) { return 2 * x; }, all)[9], 14);
}

TEST(VisibilityTest, WithoutRulesEveryQuerySeesEveryKey) {
  for (const int64_t q_len : {0, 1, 5}) {
    for (const int64_t kv_len : {0, 1, 7}) {
      const Visibility visibility = Everything(kv_len);
      EXPECT_TRUE(visibility.same_for_all_queries());
      ExpectFollows(visibility, 0, q_len, kv_len, [](int64_t, int64_t) { return true; });
    }
  }
}

TEST(VisibilityTest, CausalSeesTheKeysUpToItsShiftedPosition) {
  for (int64_t q_len = 0; q_len <= 6; ++q_len) {
    for (int64_t kv_len = 0; kv_len <= 6; ++kv_len) {
      for (int64_t shift = -8; shift <= 8; ++shift) {
        SCOPED_TRACE("q_len " + std::to_string(q_len) + " kv_len " + std::to_string(kv_len) + " shift " +
                     std::to_string(shift));
        const Visibility visibility = Causal(kv_len, shift);
        EXPECT_FALSE(visibility.same_for_all_queries());
        ExpectFollows(visibility, 0, q_len, kv_len, [shift](int64_t q, int64_t k) { return k <= q + shift; });
      }
    }
  }
}

TEST(VisibilityTest, EachBatchEntryHasItsOwnShift) {
  const std::vector<int64_t> shifts = {0, -2, 3, 100, -100};
  const Visibility visibility = Causal(7, PerEntry(shifts));
  for (size_t b = 0; b < shifts.size(); ++b) {
    ExpectFollows(visibility, static_cast<int64_t>(b), 5, 7, [&](int64_t q, int64_t k) { return k <= q + shifts[b]; });
  }
}

TEST(VisibilityTest, OneShiftServesAllEntries) {
  const Visibility visibility = Causal(3, 1);
  for (const int64_t b : {0, 1, 1000}) {
    ExpectFollows(visibility, b, 3, 3, [](int64_t q, int64_t k) { return k <= q + 1; });
  }
}

// Every combination of the rules over few tokens.
TEST(VisibilityTest, RulesAreAndedAndThePrefixIsOredWithCausalOnly) {
  constexpr int64_t kQueries = 5;
  constexpr int64_t kKeys = 6;
  constexpr int64_t kNone = Visibility::kUnbounded;
  for (const bool causal : {false, true}) {
    for (const int64_t shift : {-7, -1, 0, 2}) {
      for (const int64_t left : {int64_t{0}, int64_t{1}, int64_t{3}, kNone}) {
        for (const int64_t right : {int64_t{0}, int64_t{2}, kNone}) {
          for (const int64_t prefix : {0, 2, 6}) {
            for (const auto& [begin, end] : {std::pair{0, 6}, {2, 5}, {3, 3}, {0, 0}}) {
              Visibility visibility;
              visibility.causal = causal;
              visibility.shift = shift;
              visibility.left = left;
              visibility.right = right;
              visibility.prefix = causal ? prefix : 0;
              visibility.kv_begin = begin;
              visibility.kv_end = end;
              SCOPED_TRACE(testing::Message() << causal << " shift " << shift << " left " << left << " right " << right
                                              << " prefix " << prefix << " keys " << begin << ".." << end);
              ExpectFollows(visibility, 0, kQueries, kKeys, [&, b = begin, e = end](int64_t q, int64_t k) {
                const int64_t position = q + shift;
                return b <= k && k < e && (!causal || k <= position || k < prefix) &&
                       (left == kNone || k >= position - left) && (right == kNone || k <= position + right);
              });
            }
          }
        }
      }
    }
  }
}

TEST(VisibilityTest, TheLargestShiftsAndBoundsDoNotOverflow) {
  const auto always = [](int64_t, int64_t) { return true; };
  const auto never = [](int64_t, int64_t) { return false; };
  ExpectFollows(Causal(4, kFar), 0, 4, 4, always);
  ExpectFollows(Causal(4, -kFar), 0, 4, 4, never);
  for (const int64_t shift : {-kFar, kFar}) {
    Visibility visibility = Everything(1);
    visibility.shift = shift;
    visibility.left = visibility.right = kFar;
    ExpectFollows(visibility, 0, 1, 1, always);
    visibility.kv_end = 4;
    visibility.left = visibility.right = 0;
    ExpectFollows(visibility, 0, 4, 4, never);
  }
}

DocumentIndex IndexOf(std::vector<int32_t> queries, std::vector<int32_t> keys) {
  const TokenSpans query_spans{static_cast<int64_t>(queries.size()), {}};
  const TokenSpans key_spans{static_cast<int64_t>(keys.size()), {}};
  return {std::move(queries), std::move(keys), query_spans, key_spans, 1};
}

TEST(DocumentIndexTest, RangesRunFromTheFirstKeyOfADocumentToItsLast) {
  const DocumentIndex index = IndexOf({5, 5, 7, -1, 9}, {7, 5, 5, 9, 7});
  EXPECT_TRUE(index.scattered(0)) << "7 lies on both sides of the others";
  const std::vector<KeyRange> expected = {{1, 3}, {1, 3}, {0, 5}, {0, 0}, {3, 4}};
  for (int64_t q = 0; q < 5; ++q) {
    const KeyRange keys = index.Keys(0, q);
    EXPECT_EQ(keys.begin, expected[static_cast<size_t>(q)].begin) << q;
    EXPECT_EQ(keys.end, expected[static_cast<size_t>(q)].end) << q;
  }
  EXPECT_EQ(index.QueryId(0, 3), -1);
  EXPECT_EQ(index.KeyIds(0, 3)[0], 9);
}

TEST(DocumentIndexTest, DocumentsSideBySideAreNotScattered) {
  constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();
  constexpr int32_t kHighest = std::numeric_limits<int32_t>::max();
  const DocumentIndex index = IndexOf({kHighest, 0, kLowest}, {kHighest, kHighest, kLowest, 0, 0, 0});
  EXPECT_FALSE(index.scattered(0));
  EXPECT_EQ(index.Keys(0, 0).size(), 2);
  EXPECT_EQ(index.Keys(0, 1).size(), 3);
  EXPECT_EQ(index.Keys(0, 2).size(), 1);
}

TEST(DocumentIndexTest, EntriesKnowNothingOfEachOther) {
  // Ids of one entry end where those of the next begin.
  const TokenSpans spans{3, {}};
  const DocumentIndex index({1, 1, 2, 2, 2, 1}, {1, 2, 1, 2, 2, 1}, spans, spans, 2);
  EXPECT_TRUE(index.scattered(0));
  EXPECT_FALSE(index.scattered(1));
  EXPECT_EQ(index.Keys(0, 2).begin, 1);
  EXPECT_EQ(index.Keys(0, 2).end, 2);
  EXPECT_EQ(index.Keys(1, 0).begin, 0);
  EXPECT_EQ(index.Keys(1, 0).end, 2);
  EXPECT_EQ(index.Keys(1, 2).begin, 2);
}

TEST(DocumentIndexTest, SequencesOfEveryLengthAreFoundByTheirStarts) {
  const TokenSpans queries{PerEntry(std::vector<int64_t>{2, 0, 1}), {0, 2, 2, 3}};
  const TokenSpans keys{PerEntry(std::vector<int64_t>{1, 3, 2}), {0, 1, 4, 6}};
  const DocumentIndex index({4, 5, 5}, {5, 4, 4, 4, 6, 5}, queries, keys, 3);
  EXPECT_TRUE(index.Keys(0, 0).empty());
  EXPECT_EQ(index.Keys(0, 1).end, 1);
  EXPECT_EQ(index.Keys(2, 0).begin, 1);
  EXPECT_EQ(index.Keys(2, 0).end, 2);
  EXPECT_EQ(index.KeyIds(2, 0)[0], 6);
}

TEST(DocumentIndexTest, RandomIdsFollowTheirDefinition) {
  Random random(8);
  for (int round = 0; round < 200; ++round) {
    const int64_t ids = 1 + random.Below(6);
    const auto draw = [&](size_t n) {
      std::vector<int32_t> list(n);
      for (int32_t& id : list) id = static_cast<int32_t>(random.Below(ids)) - 2;
      return list;
    };
    const auto queries = draw(9);
    const auto keys = draw(12);
    const DocumentIndex index = IndexOf(queries, keys);
    bool scattered = false;
    for (size_t q = 0; q < queries.size(); ++q) {
      const auto first = std::find(keys.begin(), keys.end(), queries[q]);
      const auto last = std::find(keys.rbegin(), keys.rend(), queries[q]).base();
      const KeyRange range = index.Keys(0, static_cast<int64_t>(q));
      ASSERT_EQ(range.size(), first < last ? last - first : 0);
      if (first < last) {
        ASSERT_EQ(range.begin, first - keys.begin());
      }
    }
    for (const int32_t id : keys) {
      const auto first = std::find(keys.begin(), keys.end(), id);
      const auto last = std::find(keys.rbegin(), keys.rend(), id).base();
      scattered = scattered || std::count(first, last, id) != last - first;
    }
    ASSERT_EQ(index.scattered(0), scattered);
  }
}

// Ids that a hash table would put into one place.
TEST(DocumentIndexTest, ManyDocumentsTakeNoLongerWhateverTheirIds) {
  constexpr int32_t kDocuments = 200'000;
  for (const int64_t step : {1, 4096, 62233, 107897, 10723}) {
    std::vector<int32_t> ids(kDocuments);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(static_cast<int64_t>(i) * step);
    const DocumentIndex index = IndexOf(ids, ids);
    for (const int64_t q : {0, 1, 12345, kDocuments - 1}) ASSERT_EQ(index.Keys(0, q).begin, q);
  }
}

TEST(VisibilityTest, DocumentsNarrowWhatTheOtherRulesLeave) {
  Visibility visibility = Causal(6, 0);
  visibility.documents = std::make_shared<const DocumentIndex>(IndexOf({1, 1, 1, 2, 2, 2}, {1, 1, 1, 2, 2, 2}));
  EXPECT_FALSE(visibility.same_for_all_queries());
  ExpectFollows(visibility, 0, 6, 6, [](int64_t q, int64_t k) { return k <= q && q / 3 == k / 3; });
}

// At most this share of the pairs is wrong when they are estimated.
constexpr double kEstimate = 0.002;

TEST(VisibilityTest, PairsOfLongSequencesAreRight) {
  constexpr int64_t kLen = int64_t{1} << 20;
  EXPECT_EQ(Everything(kLen).Pairs(0, kLen), 0x1p40);
  EXPECT_EQ(Causal(kLen, kLen - 1).Pairs(0, 1), 0x1p20);
  EXPECT_NEAR(Causal(kLen, 0).Pairs(0, kLen), 0x1p39, 0x1p39 * kEstimate);
  Visibility window = Everything(kLen);
  window.left = 511;
  window.right = 0;
  EXPECT_NEAR(window.Pairs(0, kLen), 0x1p29, 0x1p29 * kEstimate);
}

TEST(VisibilityTest, PairsMayPassTheLargestInteger) {
  constexpr int64_t kLen = int64_t{1} << 40;
  EXPECT_DOUBLE_EQ(Everything(kLen).Pairs(0, kLen), 0x1p80);
  EXPECT_NEAR(Causal(kLen, 0).Pairs(0, kLen), 0x1p79, 0x1p79 * kEstimate);
}

TEST(VisibilityTest, NoQueriesHaveNoPairs) {
  EXPECT_EQ(Everything(5).Pairs(0, 0), 0);
  EXPECT_EQ(Causal(5, 0).Pairs(0, 0), 0);
}

}  // namespace
}  // namespace attnd
