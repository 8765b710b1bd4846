// What multi-head attention promises beside being right: equal bits in any company, stages
// that workers share, weights from anywhere.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/linear/linear_engine.h"
#include "core/linear/multihead_job.h"
#include "tests/support/compare.h"
#include "tests/support/layer_case.h"
#include "tests/support/multihead_case.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using Role = WeightRole;

TensorView Floats(std::vector<int64_t> shape, std::vector<float> values,
                  std::vector<std::shared_ptr<const void>>& owners) {
  auto owned = std::make_shared<std::vector<float>>(std::move(values));
  owners.push_back(owned);
  return {DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(*owned)))};
}

void ExpectSame(const std::optional<ResultTensor>& a, const std::optional<ResultTensor>& b) {
  ASSERT_EQ(a.has_value(), b.has_value());
  if (!a) return;
  EXPECT_TRUE(SameBits(FloatsOf(*a), FloatsOf(*b), a->shape));
}

void ExpectSameResults(const MultiHeadResult& a, const MultiHeadResult& b) {
  EXPECT_EQ(a.attention.output.shape, b.attention.output.shape);
  EXPECT_TRUE(SameBits(FloatsOf(a.attention.output), FloatsOf(b.attention.output), a.attention.output.shape));
  ExpectSame(a.attention.lse, b.attention.lse);
  ExpectSame(a.attention.weights, b.attention.weights);
  ExpectSame(a.attention.scores, b.attention.scores);
}

// A case that ONNX Runtime's tests print (AttentionBatch1); the masked row is theirs, too.
MultiHeadCase PrintedCase(std::vector<int64_t> kv_lengths) {
  MultiHeadCase c;
  c.request.query = Floats({1, 2, 4}, {.8F, -.5F, 0, 1, .5F, .2F, .3F, -.6F}, c.owners);
  c.request.heads = 2;
  c.request.options.kv_lengths = std::move(kv_lengths);
  c.weights.orientation = Orientation::kInOut;
  c.weights.tensors[Role::kQkv] =
      Floats({4, 12}, {.1F, -.2F, .3F,  1,   1.1F, .3F, .5F,   .2F,  .3F,  -.6F, 1.5F, 2,    .5F,  .1F,  .4F,  1.6F,
                       1,   2,    .4F,  .8F, .9F,  .1F, -1.3F, .7F,  .3F,  .2F,  4,    2.2F, 1.6F, 1.1F, .7F,  .2F,
                       .4F, 1,    1.2F, .5F, .2F,  .1F, .4F,   1.6F, 2.4F, 3.3F, 2.1F, 4.2F, 8.4F, 0,    2.1F, 3.2F},
             c.owners);
  c.weights.tensors[Role::kQkvBias] =
      Floats({12}, {-.5F, .6F, 1.2F, 2.1F, .5F, .7F, .2F, 1.2F, .5F, .4F, .3F, 1.2F}, c.owners);
  return c;
}

TEST(MultiHeadTest, GivesThePrintedNumbers) {
  const struct {
    std::vector<int64_t> kv_lengths;
    std::vector<double> output;
  } cases[] = {
      {{}, {3.1495984, .10843669, 4.25, 5.65, 3.9696791, .07314368, 4.25, 5.65}},
      {{1}, {8.69, -.13, 4.25, 5.65, 8.69, -.13, 4.25, 5.65}},
  };
  for (const auto& expected : cases) {
    const MultiHeadCase c = PrintedCase(expected.kv_lengths);
    const auto result = RunMultiHead(c);
    ASSERT_THAT(result.status(), IsOk());
    const ResultTensor& output = result->attention.output;
    EXPECT_TRUE(AlmostEqual(FloatsOf(output), expected.output, 2e-6, output.shape));
    const auto exact = ReferenceMultiHead<double>(c.request, c.weights);
    const std::vector<float> reference(exact.output.begin(), exact.output.end());
    EXPECT_TRUE(AlmostEqual(reference, expected.output, 1e-6, output.shape));
  }
}

TEST(MultiHeadTest, BitsDoNotDependOnWhatIsComputedTogether) {
  const MultiHeadCase layer = LayerCase();
  std::vector<MultiHeadCase> cases;
  for (const int64_t len : {1, 16, 5, 48, 97, 3}) {
    cases.push_back(OfTokens(1 + len % 3, len, layer, static_cast<uint64_t>(len)));
  }
  const auto shared = RunShared(cases);
  ASSERT_THAT(shared.status(), IsOk());
  for (size_t i = 0; i < cases.size(); ++i) {
    for (const int workers : {0, 1, 3}) {
      SCOPED_TRACE(testing::Message() << cases[i].ToString() << ", " << workers << " workers");
      const auto alone = RunMultiHead(cases[i], workers);
      ASSERT_THAT(alone.status(), IsOk());
      ExpectSameResults(*alone, (*shared)[i]);
    }
  }
}

// Through an executor: jobs with the same registered weights and few rows join.
TEST(MultiHeadTest, RequestsOfFewRowsThatWaitAreComputedTogether) {
  const MultiHeadCase layer = LayerCase();
  const auto packed = PackedWeights::Pack(layer.weights, layer.Shapes());
  ASSERT_THAT(packed.status(), IsOk());
  BufferPool pool({});
  Executor executor({.workers = 0}, Clock::Real());
  std::vector<MultiHeadCase> cases;
  for (uint64_t i = 0; i < 12; ++i) cases.push_back(OfTokens(1, 1 + static_cast<int64_t>(i % 5), layer, i));
  cases[3].request.block->norm_epsilon = .5F;
  cases[5].request.position_encoding = PositionEncoding::kSinusoidal;
  std::vector<absl::StatusOr<MultiHeadResult>> results(cases.size());
  std::vector<std::shared_ptr<Job>> jobs;
  for (size_t i = 0; i < cases.size(); ++i) {
    PlannedMultiHead planned{cases[i].request, cases[i].Plan()};
    WeightsSource weights{*packed, {}, layer.Shapes()};
    const JobSpec spec = MultiHeadJobSpec(planned, weights, EngineKind::kFused);
    EXPECT_EQ(spec.share_key != nullptr, cases[i].request.query.shape[0] * cases[i].request.query.shape[1] <= 4);
    jobs.push_back(NewMultiHeadJob(std::move(planned), std::move(weights), EngineKind::kFused, &pool,
                                   [&, i](auto result, const JobTimings&) { results[i] = std::move(result); }));
    ASSERT_THAT(executor.Submit(jobs.back(), spec), IsOk());
  }
  executor.Cancel(jobs[1].get());
  int steps = 0;
  while (executor.RunOne()) ++steps;
  EXPECT_TRUE(absl::IsCancelled(results[1].status()));
  for (size_t i = 0; i < cases.size(); ++i) {
    if (i == 1) continue;
    ASSERT_THAT(results[i].status(), IsOk());
    const auto alone = RunMultiHead(cases[i]);
    ASSERT_THAT(alone.status(), IsOk());
    ExpectSameResults(*results[i], *alone);
  }
  results.clear();
  jobs.clear();
  EXPECT_EQ(pool.used_bytes(), 0);
  // A few groups; eleven jobs alone take 88 steps or more.
  EXPECT_LT(steps, 75);
}

// What they ask for may differ in everything that is not the weights'.
TEST(MultiHeadTest, RequestsThatAreComputedTogetherMayDiffer) {
  const MultiHeadCase layer = LayerCase();
  const auto packed = PackedWeights::Pack(layer.weights, layer.Shapes());
  ASSERT_THAT(packed.status(), IsOk());
  std::vector<MultiHeadCase> cases;
  for (uint64_t i = 0; i < 16; ++i) {
    MultiHeadCase c = OfTokens(1, 2, layer, i);
    if (i % 2 == 1) c.request.position_encoding = PositionEncoding::kSinusoidal;
    if (i % 3 == 1) c.request.add_zero_attn = true;
    if (i % 5 == 1) c.request.options.rope.emplace().style = RopeStyle::kHalf;
    if (i % 7 == 1) c.request.options.scale = 2;
    if (i % 4 == 3) c.request.outputs = {.dtype = DataType::kBfloat16};
    cases.push_back(c);
  }
  BufferPool pool({});
  Executor executor({.workers = 0}, Clock::Real());
  std::vector<absl::StatusOr<MultiHeadResult>> results(cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    PlannedMultiHead planned{cases[i].request, cases[i].Plan()};
    WeightsSource weights{*packed, {}, layer.Shapes()};
    const JobSpec spec = MultiHeadJobSpec(planned, weights, EngineKind::kFused);
    ASSERT_THAT(
        executor.Submit(NewMultiHeadJob(std::move(planned), std::move(weights), EngineKind::kFused, &pool,
                                        [&, i](auto result, const JobTimings&) { results[i] = std::move(result); }),
                        spec),
        IsOk());
  }
  while (executor.RunOne()) {
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const auto alone = RunMultiHead(cases[i]);
    ASSERT_THAT(results[i].status(), IsOk());
    ASSERT_THAT(alone.status(), IsOk());
    ExpectSameResults(*results[i], *alone);
  }
}

TEST(MultiHeadTest, RandomRequestsGiveTheSameBitsWithWorkersAndTwice) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const MultiHeadCase c = RandomMultiHeadCase(seed);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << c.ToString());
    const auto once = RunMultiHead(c);
    const auto again = RunMultiHead(c, 2);
    ASSERT_THAT(once.status(), IsOk());
    ASSERT_THAT(again.status(), IsOk());
    ExpectSameResults(*once, *again);
  }
}

// Whoever multiplies. Wide enough for oneDNN to take part where it can.
TEST(MultiHeadTest, TheLinearEngineChangesNoBit) {
  const MultiHeadCase c = OfTokens(2, 150, LayerCase(), 3);
  const auto own = RunMultiHead(c);
  SetLinearEngine(LinearEngine::kOnednn);
  const auto onednn = RunMultiHead(c);
  SetLinearEngine(kAutoLinearEngine);
  ASSERT_THAT(own.status(), IsOk());
  ASSERT_THAT(onednn.status(), IsOk());
  ExpectSameResults(*own, *onednn);
}

// Whether a row of a batch is what it is alone, at lengths around those of tiles.
TEST(MultiHeadTest, EntriesOfABatchAreWhatTheyAreAlone) {
  const MultiHeadCase layer = LayerCase();
  for (const int64_t len : {1, 2, 7, 13, 14, 15, 33, 95, 96, 97}) {
    const MultiHeadCase batch = OfTokens(3, len, layer, 99);
    const auto all = RunMultiHead(batch);
    ASSERT_THAT(all.status(), IsOk());
    const std::vector<float> together = FloatsOf(all->attention.output);
    std::vector<std::byte> bytes(batch.request.query.bytes.size());
    batch.request.query.bytes.CopyTo(bytes.data());
    const size_t entry = bytes.size() / 3;
    for (size_t b = 0; b < 3; ++b) {
      MultiHeadCase one = batch;
      one.request.query.shape = {1, len, 64};
      one.request.query.bytes = Fragments(std::span<const std::byte>(bytes).subspan(b * entry, entry));
      const auto alone = RunMultiHead(one);
      ASSERT_THAT(alone.status(), IsOk());
      const size_t floats = entry / sizeof(float);
      EXPECT_TRUE(SameBits(std::span(together).subspan(b * floats, floats), FloatsOf(alone->attention.output),
                           alone->attention.output.shape))
          << len << " tokens, entry " << b;
    }
  }
}

// Sequences of other lengths begin elsewhere in the same tensor, so their keys are at other positions.
TEST(MultiHeadTest, PackedKeysThatAreTheQueriesHaveThePositionsOfTheirOwnSequences) {
  for (const auto encoding : {PositionEncoding::kSinusoidal, PositionEncoding::kLearned}) {
    MultiHeadCase c = OfTokens(1, 5, LayerCase(), 8);
    c.request.block.reset();
    c.request.query.shape = {5, 64};
    c.request.layout = Layout::kPacked;
    c.request.options.q_lengths = {2, 3};
    c.request.options.kv_lengths = {3, 2};
    c.request.options.alignment = Alignment::kTopLeft;
    c.request.position_encoding = encoding;
    Random random(4);
    c.weights.tensors[Role::kPositionTable] = RandomTensor(random, DataType::kFloat32, {3, 64}, 1, c.owners);
    MultiHeadCase said = c;
    said.request.key = c.request.query;
    const auto result = RunMultiHead(c);
    const auto wanted = RunMultiHead(said);
    ASSERT_THAT(result.status(), IsOk());
    ASSERT_THAT(wanted.status(), IsOk());
    ExpectSameResults(*result, *wanted);
    const auto exact = ReferenceMultiHead<double>(c.request, c.weights);
    const ResultTensor& output = result->attention.output;
    EXPECT_TRUE(
        AlmostEqual(FloatsOf(output), exact.output, OutputTolerance(c.request, c.weights, exact), output.shape));
  }
}

// One key and the extra one with equal scores, however large: each has half of the weight.
TEST(MultiHeadTest, TheExtraKeyIsWeighedLikeAnyOther) {
  for (const float score : {0.0F, 30.0F, 1000.0F, 16384.0F, 1048576.0F}) {
    MultiHeadCase c;
    c.request.query = Floats({1, 1, 1}, {1}, c.owners);
    c.request.heads = 1;
    c.request.options.scale = 1;
    c.weights.orientation = Orientation::kInOut;
    c.weights.tensors[Role::kQuery] = Floats({1, 1}, {1}, c.owners);
    c.weights.tensors[Role::kKey] = Floats({1, 1}, {score}, c.owners);
    c.weights.tensors[Role::kValue] = Floats({1, 1}, {0}, c.owners);
    c.weights.tensors[Role::kExtraKey] = Floats({1}, {score}, c.owners);
    c.weights.tensors[Role::kExtraValue] = Floats({1}, {1}, c.owners);
    const auto result = RunMultiHead(c);
    ASSERT_THAT(result.status(), IsOk());
    EXPECT_EQ(FloatsOf(result->attention.output), std::vector<float>{.5F}) << score;
  }
}

TEST(MultiHeadTest, AnExtraKeyOfMinusInfinityLeavesARowEmpty) {
  constexpr float kNegInf = -std::numeric_limits<float>::infinity();
  MultiHeadCase c = PrintedCase({0});
  c.request.query = Floats({1, 2, 4}, {1, 0, 0, 0, 1, 0, 0, 0}, c.owners);
  c.weights.tensors[Role::kQkvBias].reset();
  c.weights.tensors[Role::kQkv] = Floats({4, 12}, std::vector<float>(48, 1), c.owners);
  c.weights.tensors[Role::kExtraKey] = Floats({4}, std::vector<float>(4, kNegInf), c.owners);
  c.weights.tensors[Role::kExtraValue] = Floats({4}, {1, 2, 3, 4}, c.owners);
  c.request.outputs.lse = true;
  const auto result = RunMultiHead(c);
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(FloatsOf(result->attention.output), std::vector<float>(8, 0));
  EXPECT_EQ(FloatsOf(*result->attention.lse), std::vector<float>(4, kNegInf));
}

TEST(MultiHeadTest, EmptyInputsGiveEmptyOrBiasedOutputs) {
  const MultiHeadCase layer = LayerCase();
  for (const auto& [batch, len] : {std::pair{0, 5}, std::pair{2, 0}}) {
    const auto result = RunMultiHead(OfTokens(batch, len, layer, 1));
    ASSERT_THAT(result.status(), IsOk());
    EXPECT_EQ(result->attention.output.shape, (std::vector<int64_t>{batch, len, 64}));
  }
  // However large what has no elements is.
  MultiHeadCase huge = OfTokens(0, 1, layer, 1);
  huge.request.query.shape = {int64_t{1} << 40, 0, 64};
  huge.request.position_encoding = PositionEncoding::kSinusoidal;
  huge.request.options.rope.emplace().style = RopeStyle::kHalf;
  huge.request.explain = true;
  EXPECT_THAT(RunMultiHead(huge).status(), IsOk());
  // No key: the attention gives 0, and what follows goes on from there.
  MultiHeadCase c = PrintedCase({0});
  const auto result = RunMultiHead(c);
  ASSERT_THAT(result.status(), IsOk());
  EXPECT_EQ(FloatsOf(result->attention.output), std::vector<float>(8, 0));
  EXPECT_EQ(result->attention.rows.empty, 4);
}

TEST(MultiHeadTest, ExplainGivesZerosOutsideTheLengths) {
  for (const NormPlacement placement : {NormPlacement::kPost, NormPlacement::kPre}) {
    MultiHeadCase c = OfTokens(2, 5, LayerCase(), 1);
    c.request.block->placement = placement;
    c.request.options.q_lengths = {3, 0};
    c.request.options.alignment = Alignment::kTopLeft;
    c.request.explain = true;
    const auto result = RunMultiHead(c);
    ASSERT_THAT(result.status(), IsOk());
    ASSERT_EQ(result->explain.size(), 6U);
    for (size_t n = 3; n < result->explain.size(); ++n) {
      SCOPED_TRACE(result->explain[n].name);
      const std::vector<float> floats = FloatsOf(result->explain[n].tensor);
      EXPECT_NE(floats[0], 0);
      EXPECT_EQ(std::vector<float>(floats.begin() + ptrdiff_t{3} * 64, floats.end()), std::vector<float>(7 * 64, 0));
    }
  }
}

TEST(MultiHeadTest, CancelledAndFailedJobsFreeEverything) {
  const MultiHeadCase c = OfTokens(2, 40, LayerCase(), 5);
  BufferPool pool({});
  Executor executor({.workers = 0}, Clock::Real());
  for (int steps = 0; steps < 12; ++steps) {
    PlannedMultiHead planned{c.request, c.Plan()};
    WeightsSource weights{nullptr, c.weights, c.Shapes()};
    const JobSpec spec = MultiHeadJobSpec(planned, weights, EngineKind::kFused);
    absl::Status end;
    const auto job = NewMultiHeadJob(std::move(planned), std::move(weights), EngineKind::kFused, &pool,
                                     [&](const auto& result, const JobTimings&) { end = result.status(); });
    ASSERT_THAT(executor.Submit(job, spec), IsOk());
    for (int i = 0; i < steps; ++i) executor.RunOne();
    executor.Cancel(job.get());
    EXPECT_TRUE(end.ok() || absl::IsCancelled(end)) << end;
    EXPECT_EQ(pool.used_bytes(), 0) << "after " << steps << " steps";
    EXPECT_EQ(executor.Stats().bytes, 0);
  }
}

}  // namespace
}  // namespace attnd
