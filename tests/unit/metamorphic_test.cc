// Relations between requests that hold whatever the oracle says: what may be permuted,
// split, repeated, shifted or said in another way without changing the answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "core/attention/fused_engine.h"
#include "core/attention/simd_pairs.h"
#include "tests/support/compare.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Random cases brought into a form by `change`, which may refuse one; the rest through `check`.
void ForCases(uint64_t seed, int count, const std::function<bool(RequestCase&)>& change,
              const std::function<void(const RequestCase&)>& check) {
  seed += FromEnvironment("ATTND_SEED", 0);
  int checked = 0;
  for (int i = 0; checked < (kSanitized ? count / 20 : count) && i < 30 * count; ++i, ++seed) {
    RequestCase c = RandomCase(seed, {.max_pairs = 20000, .visible_nan_percent = 0});
    if (!change(c)) continue;
    ++checked;
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + c.ToString());
    check(c);
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(checked, 0);
}

// Not packed, with nothing left to defaults that depend on the lengths.
bool MakeExplicit(RequestCase& c) {
  if (c.packed() || c.dims.batch == 0) return false;
  AttentionOptions& o = c.options;
  std::vector<int64_t> q_offset;
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    int64_t offset = 0;
    if (o.alignment == Alignment::kBottomRight) offset = c.KeyEnd(b) - c.QueryEnd(b);
    if (!o.q_offset.empty()) offset = o.q_offset[o.q_offset.size() == 1 ? 0 : static_cast<size_t>(b)];
    q_offset.push_back(offset);
  }
  o.alignment = Alignment::kOffset;
  o.q_offset = q_offset;
  if (o.k_offset.empty()) o.k_offset = {0};
  if (o.documents && o.documents->key_ids.empty()) o.documents->key_ids = o.documents->query_ids;
  return true;
}

// For cases whose lengths no longer hide it.
void ReplaceGarbage(RequestCase& c) {
  for (CaseTensor* tensor : {&c.key, &c.value}) {
    for (float& x : tensor->numbers) x = std::isfinite(x) ? x : 1;
  }
}

bool HasGarbage(const CaseTensor& tensor) {
  return std::any_of(tensor.numbers.begin(), tensor.numbers.end(), [](float x) { return !std::isfinite(x); });
}

// change(block, out) appends what [len, inner] numbers become, for each of [outer, len, inner].
template <typename T, typename F>
void ChangeRows(std::vector<T>& numbers, int64_t len, int64_t inner, F change) {
  std::vector<T> out;
  const int64_t block = len * inner;
  for (int64_t at = 0; block > 0 && at < static_cast<int64_t>(numbers.size()); at += block) {
    const auto begin = numbers.begin() + at;
    change(std::vector<T>(begin, begin + block), out);
  }
  numbers = out;
}

// Rearranges or extends everything with an element per key: new key j is old key source[j],
// or `fill` where that is negative.
RequestCase WithKeys(const RequestCase& c, const std::vector<int64_t>& source) {
  RequestCase out = c;
  const int64_t len = c.dims.kv_len;
  const auto n = static_cast<int64_t>(source.size());
  const auto rearrange = [&](auto& numbers, int64_t inner, auto fill) {
    ChangeRows(numbers, len, inner, [&](const auto& block, auto& to) {
      for (const int64_t j : source) {
        for (int64_t e = 0; e < inner; ++e) to.push_back(j < 0 ? fill : block[static_cast<size_t>(j * inner + e)]);
      }
    });
  };
  for (CaseTensor* tensor : {&out.key, &out.value}) {
    rearrange(tensor->numbers, tensor->shape[3], kNan);
    tensor->shape[2] = n;
  }
  const auto broadcast = [&](CaseTensor& tensor) {
    if (tensor.shape.empty() || tensor.shape.back() == 1) return;
    rearrange(tensor.numbers, 1, 0.0F);
    tensor.shape.back() = n;
  };
  for (CaseMask& mask : out.masks) broadcast(mask.tensor);
  for (CaseTensor& bias : out.biases) broadcast(bias);
  if (out.options.documents) rearrange(out.options.documents->key_ids, 1, int32_t{0});
  if (out.options.rope) rearrange(out.options.rope->key_positions, 1, int64_t{0});
  out.dims.kv_len = n;
  return out;
}

// What WithKeys does to results with an element per key: back to the first `len` old keys.
void RestoreKeys(const std::vector<int64_t>& source, int64_t len, CaseResult& result) {
  const auto restore = [&](std::vector<float>& numbers) {
    ChangeRows(numbers, static_cast<int64_t>(source.size()), 1, [&](const auto& row, auto& to) {
      std::vector<float> old(static_cast<size_t>(len));
      for (size_t j = 0; j < source.size(); ++j) {
        if (source[j] >= 0) old[static_cast<size_t>(source[j])] = row[j];
      }
      to.insert(to.end(), old.begin(), old.end());
    });
  };
  for (EntryResult& entry : result.entries) {
    restore(entry.weights);
    restore(entry.scores);
  }
}

TEST(MetamorphicTest, KeysMayBePermuted) {
  const auto change = [](RequestCase& c) {
    if (c.dims.kv_len < 2 || !MakeExplicit(c)) return false;
    AttentionOptions& o = c.options;
    o.causal = false;
    o.window.reset();
    o.prefix_lengths.clear();
    o.kv_lengths.clear();
    o.kv_starts.clear();
    c.alibi_slopes.reset();
    if (o.rope && o.rope->key_positions.empty()) return false;
    ReplaceGarbage(c);
    return true;
  };
  ForCases(1, 1000, change, [](const RequestCase& c) {
    std::vector<int64_t> source(static_cast<size_t>(c.dims.kv_len));
    std::iota(source.begin(), source.end(), 0);
    Random random(5);
    for (size_t i = source.size(); i > 1; --i) {
      std::swap(source[i - 1], source[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
    }
    CaseResult result = RunCase(WithKeys(c, source), {});
    RestoreKeys(source, c.dims.kv_len, result);
    EXPECT_TRUE(Matches(c, result, Expect(c)));
  });
}

TEST(MetamorphicTest, KeysOfNanBeyondTheLengthsChangeNoBit) {
  const auto change = [](RequestCase& c) {
    if (c.outputs.scores && *c.outputs.scores != ScoreStage::kBiased) c.outputs.scores.reset();
    return MakeExplicit(c) && c.dims.kv_len > 0;
  };
  ForCases(100000, 1000, change, [](const RequestCase& c) {
    for (const int64_t more : {1, 7, 16, 40}) {
      std::vector<int64_t> source(static_cast<size_t>(c.dims.kv_len + more), -1);
      std::iota(source.begin(), source.begin() + c.dims.kv_len, 0);
      RequestCase longer = WithKeys(c, source);
      longer.options.kv_lengths.clear();
      for (int64_t b = 0; b < c.dims.batch; ++b) longer.options.kv_lengths.push_back(c.KeyEnd(b));
      CaseResult result = RunCase(longer, {});
      RestoreKeys(source, c.dims.kv_len, result);
      EXPECT_TRUE(SameResults(result, RunCase(c, {}))) << more;
    }
  });
}

TEST(MetamorphicTest, MaskedKeysOfNanDoNotReachTheResults) {
  const auto change = [](RequestCase& c) {
    if (c.outputs.scores && *c.outputs.scores != ScoreStage::kBiased) c.outputs.scores.reset();
    if (!MakeExplicit(c)) return false;
    c.options.kv_lengths.clear();
    ReplaceGarbage(c);
    return c.dims.kv_len > 1;
  };
  ForCases(200000, 1000, change, [](const RequestCase& c) {
    const ExpectedResult expected = Expect(c);
    for (const int64_t more : {1, 40}) {
      std::vector<int64_t> source(static_cast<size_t>(c.dims.kv_len + more), -1);
      std::iota(source.begin(), source.begin() + c.dims.kv_len, 0);
      RequestCase longer = WithKeys(c, source);
      CaseTensor drop{DataType::kBit, {c.dims.kv_len + more}, {}};
      for (const int64_t j : source) drop.numbers.push_back(j < 0 ? 1.0F : 0.0F);
      longer.masks.push_back({drop, Polarity::kDrop});
      CaseResult result = RunCase(longer, {});
      RestoreKeys(source, c.dims.kv_len, result);
      EXPECT_TRUE(Matches(c, result, expected)) << more;
    }
  });
}

TEST(MetamorphicTest, WhatHiddenKeysHoldChangesNoBit) {
  const auto change = [](RequestCase& c) {
    if (c.outputs.scores && *c.outputs.scores != ScoreStage::kBiased) c.outputs.scores.reset();
    return HasGarbage(c.key) || HasGarbage(c.value);
  };
  ForCases(250000, 1000, change, [](const RequestCase& c) {
    RequestCase clean = c;
    ReplaceGarbage(clean);
    EXPECT_TRUE(SameResults(RunCase(c, {}), RunCase(clean, {})));
  });
}

// Keys that only some rows of a tile see: the others keep their bits.
TEST(MetamorphicTest, ANanKeyChangesNoBitOfRowsThatDoNotSeeIt) {
  const auto change = [](RequestCase& c) {
    if (c.outputs.scores && *c.outputs.scores != ScoreStage::kBiased) c.outputs.scores.reset();
    return c.dims.q_len > 1 && c.dims.kv_len > 1 && !c.packed() && (!c.outputs.weights || !c.outputs.weights->mean);
  };
  ForCases(270000, 1000, change, [](const RequestCase& c) {
    RequestCase spoiled = c;
    const int64_t bad = c.dims.kv_len / 2;
    for (CaseTensor* tensor : {&spoiled.key, &spoiled.value}) {
      const int64_t dim = tensor->shape[3];
      for (int64_t bh = 0; bh < c.dims.batch * c.dims.kv_heads; ++bh) {
        std::fill_n(tensor->numbers.begin() + (bh * c.dims.kv_len + bad) * dim, dim, kNan);
      }
    }
    RequestCase asking = c;
    asking.outputs = {.dtype = DataType::kFloat32, .scores = ScoreStage::kBiased};
    const CaseResult scores = RunCase(asking, {});
    const CaseResult expected = RunCase(c, {});
    const CaseResult result = RunCase(spoiled, {});
    for (size_t b = 0; b < scores.entries.size(); ++b) {
      for (int64_t row = 0; row < c.dims.heads * c.dims.q_len; ++row) {
        const bool used = row % c.dims.q_len < c.QueryEnd(static_cast<int64_t>(b));
        const bool sees = used && scores.entries[b].scores[static_cast<size_t>(row * c.dims.kv_len + bad)] != -kInf;
        for (int64_t e = 0; e < c.dims.value_dim; ++e) {
          const auto at = static_cast<size_t>(row * c.dims.value_dim + e);
          const float x = result.entries[b].output[at];
          EXPECT_TRUE(sees ? std::isnan(x) : x == expected.entries[b].output[at]) << row << ": " << x;
        }
      }
    }
  });
}

TEST(MetamorphicTest, AConstantAddedToAllLogitsMovesTheLseOnly) {
  const auto change = [](RequestCase& c) {
    c.outputs.scores.reset();
    c.outputs.lse = true;
    return true;
  };
  ForCases(300000, 1000, change, [](const RequestCase& c) {
    RequestCase raised = c;
    constexpr float kConstant = 3;
    raised.biases.push_back({DataType::kBfloat16, {1, 1}, {kConstant}});
    if (raised.sinks) {
      for (float& sink : raised.sinks->numbers) sink += kConstant;
      raised.sinks->dtype = DataType::kFloat32;
    }
    CaseResult result = RunCase(raised, {});
    for (EntryResult& entry : result.entries) {
      for (float& lse : entry.lse) lse -= kConstant;
    }
    ExpectedResult expected = Expect(c);
    const ExpectedResult theirs = Expect(raised);
    expected.output_tolerance += theirs.output_tolerance;
    expected.lse_tolerance += theirs.lse_tolerance;
    expected.weights_tolerance += theirs.weights_tolerance;
    EXPECT_TRUE(Matches(c, result, expected));
  });
}

// Whether shared and repeated key heads have as few, or as many, rows as the engine tells apart.
bool SharedAndRepeatedGoTheSameWay(const RequestCase& c) {
  const auto kind = [](int64_t rows) { return rows <= kFusedThinRows ? 0 : rows <= simd::kPairWidth ? 1 : 2; };
  for (int64_t b = 0; b < c.dims.batch && TestEngine() == EngineKind::kFused; ++b) {
    if (kind(c.QueryEnd(b)) != kind(c.QueryEnd(b) * c.dims.group())) return false;
  }
  return true;
}

TEST(MetamorphicTest, SharedKeyHeadsEqualRepeatedOnes) {
  ForCases(
      400000, 1000, [](RequestCase& c) { return c.dims.group() > 1; },
      [](const RequestCase& c) {
        RequestCase repeated = c;
        repeated.dims.kv_heads = c.dims.heads;
        for (CaseTensor* tensor : {&repeated.key, &repeated.value}) {
          ChangeRows(tensor->numbers, tensor->shape[2], tensor->shape[3], [&](const auto& head, auto& to) {
            for (int64_t g = 0; g < c.dims.group(); ++g) to.insert(to.end(), head.begin(), head.end());
          });
          tensor->shape[1] = c.dims.heads;
        }
        const CaseResult result = RunCase(repeated, {});
        const bool same_way = SharedAndRepeatedGoTheSameWay(c);
        EXPECT_TRUE(same_way ? SameResults(result, RunCase(c, {})) : Matches(c, result, Expect(c)));
      });
}

TEST(MetamorphicTest, ShiftingAllPositionsChangesNoBit) {
  const auto change = [](RequestCase& c) {
    c.options.rope.reset();
    return MakeExplicit(c);
  };
  ForCases(500000, 1000, change, [](const RequestCase& c) {
    for (const int64_t by : {int64_t{-1}, int64_t{1000}, int64_t{1} << 40}) {
      RequestCase shifted = c;
      const auto far = [](int64_t x) { return std::abs(x) > int64_t{1} << 50; };
      for (auto* list : {&shifted.options.q_offset, &shifted.options.k_offset}) {
        if (std::any_of(list->begin(), list->end(), far)) return;
        for (int64_t& offset : *list) offset += by;
      }
      EXPECT_TRUE(SameResults(RunCase(shifted, {}), RunCase(c, {}))) << by;
    }
  });
}

TEST(MetamorphicTest, AWindowWiderThanAnyDistanceHidesNothing) {
  const auto change = [](RequestCase& c) {
    c.options.rope.reset();
    c.options.window.reset();
    c.options.causal = false;
    c.options.prefix_lengths.clear();
    c.alibi_slopes.reset();
    return MakeExplicit(c);
  };
  ForCases(550000, 300, change, [](const RequestCase& c) {
    for (const int64_t sign : {-1, 1}) {
      RequestCase wide = c;
      wide.options.q_offset = {sign * (int64_t{1} << 60)};
      wide.options.k_offset = {-sign * (int64_t{1} << 60)};
      constexpr int64_t kWidest = std::numeric_limits<int64_t>::max();
      wide.options.window = Window{kWidest, kWidest};
      EXPECT_TRUE(SameResults(RunCase(wide, {}), RunCase(c, {}))) << sign;
    }
  });
}

TEST(MetamorphicTest, RotaryScoresDependOnDistancesOnly) {
  const auto change = [](RequestCase& c) {
    if (!c.options.rope || !MakeExplicit(c)) return false;
    // Of hidden garbage, other scores become other infinities.
    if (c.outputs.scores && *c.outputs.scores != ScoreStage::kBiased) c.outputs.scores.reset();
    c.options.rope->query_positions.clear();
    c.options.rope->key_positions.clear();
    if (c.options.q_offset[0] > 10000 || c.options.q_offset[0] < -10000) c.options.q_offset = c.options.k_offset = {0};
    return true;
  };
  ForCases(600000, 1000, change, [](const RequestCase& c) {
    RequestCase shifted = c;
    for (auto* list : {&shifted.options.q_offset, &shifted.options.k_offset}) {
      for (int64_t& offset : *list) offset += 517;
    }
    ExpectedResult expected = Expect(c);
    const ExpectedResult theirs = Expect(shifted);
    expected.output_tolerance += theirs.output_tolerance;
    expected.lse_tolerance += theirs.lse_tolerance;
    expected.weights_tolerance += theirs.weights_tolerance;
    expected.scores_tolerance += theirs.scores_tolerance;
    EXPECT_TRUE(Matches(c, RunCase(shifted, {}), expected));
  });
}

TEST(MetamorphicTest, SixteenBitInputsAreTheNumbersTheyHold) {
  ForCases(
      700000, 1000,
      [](RequestCase& c) {
        c.outputs.dtype = DataType::kFloat32;
        return true;
      },
      [](const RequestCase& c) {
        RequestCase wide = c;
        for (CaseTensor* tensor : {&wide.query, &wide.key, &wide.value}) tensor->dtype = DataType::kFloat32;
        for (CaseTensor& bias : wide.biases) bias.dtype = DataType::kFloat32;
        if (wide.alibi_slopes) wide.alibi_slopes->dtype = DataType::kFloat32;
        if (wide.sinks) wide.sinks->dtype = DataType::kFloat32;
        EXPECT_TRUE(SameResults(RunCase(wide, {}), RunCase(c, {})));
      });
}

TEST(MetamorphicTest, LayoutsAndFormsGiveTheSameBits) {
  ForCases(
      800000, 1000, [](RequestCase& c) { return MakeExplicit(c); },
      [](const RequestCase& c) {
        RequestCase other = c;
        other.layout = c.layout == Layout::kHeadsFirst ? Layout::kTokensFirst : Layout::kHeadsFirst;
        other.compact = other.layout == Layout::kTokensFirst;
        const CaseResult expected = RunCase(c, {});
        EXPECT_TRUE(SameResults(RunCase(other, {}), expected));
        other.compact = false;
        EXPECT_TRUE(SameResults(RunCase(other, {}), expected));
      });
}

TEST(MetamorphicTest, OneMaskMayBeSaidInManyWays) {
  const auto change = [](RequestCase& c) { return !c.masks.empty(); };
  ForCases(900000, 1000, change, [](const RequestCase& c) {
    const CaseResult expected = RunCase(c, {});
    RequestCase twice = c;
    twice.masks.push_back(twice.masks[0]);
    EXPECT_TRUE(SameResults(RunCase(twice, {}), expected)) << "twice";

    RequestCase flipped = c;
    for (CaseMask& mask : flipped.masks) {
      mask.polarity = mask.polarity == Polarity::kKeep ? Polarity::kDrop : Polarity::kKeep;
      for (float& x : mask.tensor.numbers) x = 1 - x;
    }
    EXPECT_TRUE(SameResults(RunCase(flipped, {}), expected)) << "other polarity";

    RequestCase retyped = c;
    for (CaseMask& mask : retyped.masks) {
      mask.tensor.dtype = mask.tensor.dtype == DataType::kBool ? DataType::kBit : DataType::kBool;
    }
    EXPECT_TRUE(SameResults(RunCase(retyped, {}), expected)) << "other type";

    RequestCase full = c;
    for (CaseMask& mask : full.masks) {
      CaseTensor tensor{mask.tensor.dtype, {c.dims.batch, c.dims.heads, c.dims.q_len, c.dims.kv_len}, {}};
      for (int64_t row = 0; row < c.dims.batch * c.dims.heads * c.dims.q_len; ++row) {
        const int64_t bh = row / c.dims.q_len;
        for (int64_t j = 0; j < c.dims.kv_len; ++j) {
          tensor.numbers.push_back(
              RequestCase::At(mask.tensor, bh / c.dims.heads, bh % c.dims.heads, row % c.dims.q_len, j));
        }
      }
      mask.tensor = tensor;
    }
    EXPECT_TRUE(SameResults(RunCase(full, {}), expected)) << "not broadcast";

    // Adding 0 may change the sign of a score that is 0.
    RequestCase as_bias = c;
    as_bias.outputs.scores.reset();
    as_bias.masks.clear();
    for (const CaseMask& mask : c.masks) {
      CaseTensor bias = mask.tensor;
      bias.dtype = DataType::kFloat16;
      for (float& x : bias.numbers) x = (x != 0) == (mask.polarity == Polarity::kKeep) ? 0 : -kInf;
      as_bias.biases.push_back(bias);
    }
    EXPECT_TRUE(SameResults(RunCase(as_bias, {}), expected)) << "bias of -inf";
  });
}

}  // namespace
}  // namespace attnd
