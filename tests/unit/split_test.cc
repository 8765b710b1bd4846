// Long contexts of few rows: what is cut, and that nothing shows it.
#include "core/attention/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "core/attention/attention_job.h"
#include "tests/support/isa.h"
#include "tests/support/random.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

CaseTensor Numbers(std::vector<int64_t> shape, uint64_t seed) {
  CaseTensor tensor{DataType::kFloat32, std::move(shape), {}};
  int64_t count = 1;
  for (const int64_t extent : tensor.shape) count *= extent;
  Random random(seed);
  for (int64_t i = 0; i < count; ++i) tensor.numbers.push_back(random.Normal());
  return tensor;
}

RequestCase Case(const Dims& dims) {
  RequestCase c;
  c.dims = dims;
  c.query = Numbers({dims.batch, dims.heads, dims.q_len, dims.head_dim}, 1);
  c.key = Numbers({dims.batch, dims.kv_heads, dims.kv_len, dims.head_dim}, 2);
  c.value = Numbers({dims.batch, dims.kv_heads, dims.kv_len, dims.value_dim}, 3);
  c.outputs.lse = true;
  return c;
}

AttentionPlan PlanOf(const RequestCase& c) {
  auto plan = PlanAttention(BuildRequest(c), AttentionLimits());
  EXPECT_THAT(plan, IsOk());
  return plan.ok() ? *std::move(plan) : AttentionPlan();
}

// Long contexts in which rows see everything, the end, or the middle.
std::vector<RequestCase> Cases() {
  std::vector<RequestCase> cases = {Case({2, 4, 2, 1, 20000, 8, 6}), Case({1, 1, 1, 3, 8200, 5, 17}),
                                    Case({1, 3, 1, 1, 2 * kKeysPerPart, 16, 1})};
  RequestCase causal = Case({1, 2, 1, 2, 17000, 8, 6});
  causal.options.causal = true;
  causal.options.alignment = Alignment::kBottomRight;
  cases.push_back(causal);
  causal.options.window = {.left = 9000, .right = std::nullopt};
  cases.push_back(causal);
  RequestCase ragged = Case({3, 4, 2, 2, 30000, 8, 6});
  ragged.options.q_lengths = {1, 2, 0};
  ragged.options.kv_lengths = {30000, 100, 30000};
  ragged.options.kv_starts = {9000, 0, 0};
  cases.push_back(ragged);
  RequestCase sinks = Case({1, 2, 2, 2, 17000, 8, 6});
  sinks.sinks = Numbers({2}, 4);
  sinks.alibi_slopes = Numbers({2}, 5);
  for (float& slope : sinks.alibi_slopes->numbers) slope *= 1e-4F;
  sinks.options.causal = true;
  sinks.options.alignment = Alignment::kBottomRight;
  cases.push_back(sinks);
  RequestCase mask = Case({1, 2, 1, 2, 20000, 8, 6});
  CaseTensor bits{DataType::kBool, {2, 20000}, std::vector<float>(40000)};
  // The first row sees keys of the last part only, the second every third one.
  for (size_t k = 0; k < 20000; ++k) {
    bits.numbers[k] = k >= 18000 ? 1 : 0;
    bits.numbers[20000 + k] = k % 3 == 0 ? 1 : 0;
  }
  mask.masks.push_back({bits, Polarity::kKeep});
  cases.push_back(mask);
  cases.push_back(Case({1, 2, 1, 3, 1100, 2048, 2047}));
  // Rows in pairs, and in strips of all widths: the most that are cut.
  cases.push_back(Case({1, 8, 1, 1, 17000, 7, 9}));
  cases.push_back(Case({1, 4, 1, 8, 9000, 8, 6}));
  RequestCase masked = Case({1, 6, 2, 7, 17000, 5, 6});
  masked.options.causal = true;
  masked.options.alignment = Alignment::kOffset;
  // Some rows do not reach the last part.
  masked.options.q_offset = {2 * kKeysPerPart - 3};
  masked.options.k_offset = {0};
  masked.sinks = Numbers({6}, 6);
  CaseTensor thirds{DataType::kBit, {17000}, std::vector<float>(17000)};
  for (size_t k = 0; k < 17000; ++k) thirds.numbers[k] = k % 3 == 0 || k > 16000 ? 1 : 0;
  masked.masks.push_back({thirds, Polarity::kKeep});
  cases.push_back(masked);
  return cases;
}

TEST(SplitTest, LongContextsOfFewRowsAreCut) {
  struct {
    Dims dims;
    int64_t parts;
  } const cases[] = {{{1, 1, 1, 1, kKeysPerPart, 8, 8}, 1},     {{1, 1, 1, 1, kKeysPerPart + 1, 8, 8}, 2},
                     {{1, 2, 1, 2, 3 * kKeysPerPart, 8, 8}, 3}, {{1, 4, 1, 2, 3 * kKeysPerPart, 8, 8}, 3},
                     {{1, 1, 1, 0, 3 * kKeysPerPart, 8, 8}, 1}, {{1, 4, 4, 4, 3 * kKeysPerPart, 8, 8}, 3},
                     {{1, 8, 1, 4, 3 * kKeysPerPart, 8, 8}, 3}, {{1, 11, 1, 3, 3 * kKeysPerPart, 8, 8}, 1}};
  for (const auto& [dims, parts] : cases) EXPECT_EQ(PartsOf(PlanOf(Case(dims)), 0).count, parts) << dims.kv_len;
}

TEST(SplitTest, PartsOfLongTokensHaveFewerKeys) {
  EXPECT_EQ(KeysPerPart({1, 1, 1, 1, 1, 1, 1}), kKeysPerPart);
  EXPECT_EQ(KeysPerPart({1, 1, 1, 1, 1, 256, 256}), kKeysPerPart);
  EXPECT_EQ(KeysPerPart({1, 1, 1, 1, 1, 300, 300}), 6656);
  EXPECT_EQ(KeysPerPart({1, 1, 1, 1, 1, 2048, 2048}), 1024);
  EXPECT_EQ(KeysPerPart({1, 1, 1, 1, 1, 65536, 1}), 512);
  const KeyParts parts = PartsOf(PlanOf(Case({1, 1, 1, 1, 1100, 4096, 4096})), 0);
  EXPECT_EQ(parts.count, 3);
  EXPECT_EQ(parts.keys(2).begin, 1024);
}

TEST(SplitTest, PartsLieOnAGridOverVisibleKeys) {
  RequestCase c = Case({1, 1, 1, 1, 5 * kKeysPerPart, 1, 1});
  c.options.kv_starts = {kKeysPerPart + 5};
  c.options.kv_lengths = {3 * kKeysPerPart};
  const KeyParts parts = PartsOf(PlanOf(c), 0);
  EXPECT_EQ(parts.count, 2);
  EXPECT_EQ(parts.keys(0).begin, kKeysPerPart);
  EXPECT_EQ(parts.keys(0).end, 2 * kKeysPerPart);
  EXPECT_EQ(parts.keys(1).end, 3 * kKeysPerPart);
}

TEST(SplitTest, ResultsMatchTheOracle) {
  for (const RequestCase& c : Cases()) {
    SCOPED_TRACE(c.ToString());
    EXPECT_TRUE(Matches(c, RunCase(c, {}), Expect(c)));
  }
}

TEST(SplitTest, WorkersAndOrderDoNotMatter) {
  for (const RequestCase& c : Cases()) {
    SCOPED_TRACE(c.ToString());
    const CaseResult expected = RunCase(c, {});
    for (const int workers : kSanitized ? std::vector{2} : std::vector{1, 2, 3}) {
      EXPECT_TRUE(SameResults(RunCase(c, {.workers = workers, .shuffle_seed = {}}), expected));
    }
    for (uint64_t seed = 1; seed <= (kSanitized ? 1 : 3); ++seed) {
      EXPECT_TRUE(SameResults(RunCase(c, {.workers = 0, .shuffle_seed = seed}), expected));
    }
  }
}

TEST(SplitTest, AnEntryAloneEqualsTheEntryInABatch) {
  for (const RequestCase& c : Cases()) {
    SCOPED_TRACE(c.ToString());
    const CaseResult all = RunCase(c, {});
    for (int64_t b = 0; b < c.dims.batch; ++b) {
      EXPECT_TRUE(SameEntry(RunCase(EntryOf(c, b), {}).entries[0], all.entries[static_cast<size_t>(b)])) << b;
    }
  }
}

// Averaged weights are computed by one worker, in parts all the same.
TEST(SplitTest, OtherOutputsDoNotChangeTheOutput) {
  for (const RequestCase& c : Cases()) {
    SCOPED_TRACE(c.ToString());
    const CaseResult plain = RunCase(c, {});
    RequestCase more = c;
    more.outputs.scores = ScoreStage::kBiased;
    for (const bool mean : {false, true}) {
      more.outputs.weights.emplace().mean = mean;
      const CaseResult result = RunCase(more, {.workers = 2, .shuffle_seed = {}});
      EXPECT_TRUE(SameResults(plain, result)) << mean;
      EXPECT_TRUE(Matches(more, result, Expect(more))) << mean;
    }
  }
}

TEST(SplitTest, HiddenPoisonStaysHidden) {
  RequestCase c = Case({1, 2, 1, 2, 20000, 8, 6});
  c.options.causal = true;
  c.options.alignment = Alignment::kOffset;
  c.options.q_offset = {16000};
  c.options.k_offset = {0};
  const CaseResult clean = RunCase(c, {});
  // Behind what either row sees, and a key that the second sees alone.
  std::fill(c.value.numbers.begin() + int64_t{16002} * 6, c.value.numbers.end(), kNan);
  c.value.numbers[size_t{16001} * 6] = kNan;
  const CaseResult result = RunCase(c, {.workers = 2, .shuffle_seed = {}});
  for (size_t head = 0; head < 2; ++head) {
    for (size_t i = 0; i < 12; ++i) {
      const float x = result.entries[0].output[head * 12 + i];
      if (i == 6) {
        EXPECT_NE(x, x);
      } else if (i < 6) {
        EXPECT_EQ(x, clean.entries[0].output[head * 12 + i]) << i;
      } else {
        EXPECT_NEAR(x, clean.entries[0].output[head * 12 + i], 1e-6) << i;
      }
    }
  }
}

TEST(SplitTest, TheSpecCoversTheStates) {
  const AttentionPlan plan = PlanOf(Case({2, 4, 2, 1, 20000, 8, 6}));
  EXPECT_GE(PartialBytes(plan), int64_t{2} * 2 * 3 * (2 * 6 + 4) * 4);
  EXPECT_LT(PartialBytes(plan), plan.input_bytes / 100);
  EXPECT_GE(AttentionJobSpec(plan, TestEngine()).bytes, plan.input_bytes + plan.output_bytes + PartialBytes(plan));
  EXPECT_EQ(PartialBytes(PlanOf(Case({2, 4, 2, 1, 2000, 8, 6}))), 0);
}

TEST(SplitTest, PartsAreSteps) {
  const RequestCase c = Case({1, 1, 1, 1, 100000, 16, 16});
  BufferPool pool{{}};
  const auto job = NewAttentionJob(BuildRequest(c), PlanOf(c), TestEngine(), &pool,
                                   [](const absl::StatusOr<AttentionResult>&, const JobTimings&) {});
  const auto copies = job->Prepare();
  ASSERT_THAT(copies, IsOk());
  for (int64_t part = 0; part < *copies; ++part) ASSERT_THAT(job->RunTile(part), IsOk());
  EXPECT_GE(job->NextStage(), 3);
  EXPECT_THAT(job->RunTile(0), IsOk());
  job->Done(absl::CancelledError("enough"), {});
  EXPECT_EQ(pool.used_bytes(), 0U);
}

}  // namespace
}  // namespace attnd
