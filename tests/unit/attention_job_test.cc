// A request's whole way through the core: plan, job, executor, result.
#include "core/attention/attention_job.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/runtime/clock.h"
#include "tests/support/attention_problem.h"
#include "tests/support/compare.h"
#include "tests/support/manual_clock.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

std::span<const float> FloatsOf(const ResultTensor& tensor) {
  EXPECT_EQ(tensor.dtype, DataType::kFloat32);
  return {tensor.data.floats(), tensor.data.size() / sizeof(float)};
}

// What a job called back with.
struct Outcome {
  std::optional<absl::StatusOr<AttentionResult>> result;
  JobTimings timings;
  int calls = 0;

  [[nodiscard]] const AttentionResult& value() const { return result->value(); }
};

class AttentionJobTest : public testing::Test {
 protected:
  // A job that reports to `outcome`. The request must be one that plans.
  std::shared_ptr<Job> Make(AttentionRequest request, Outcome& outcome) {
    auto plan = PlanAttention(request, {});
    EXPECT_THAT(plan, IsOk());
    return NewAttentionJob(std::move(request), *std::move(plan), TestEngine(), &pool_,
                           [&outcome](absl::StatusOr<AttentionResult> result, const JobTimings& timings) {
                             ++outcome.calls;
                             outcome.result = std::move(result);
                             outcome.timings = timings;
                           });
  }
  // Runs the request on `workers` threads, or on this one if 0.
  Outcome Run(const AttentionRequest& request, int workers = 0) {
    Outcome outcome;
    Executor executor({.workers = workers}, Clock::Real());
    EXPECT_THAT(executor.Submit(Make(request, outcome), {}), IsOk());
    if (workers > 0) {
      EXPECT_TRUE(executor.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(5)));
    }
    while (workers == 0 && executor.RunOne()) {
    }
    EXPECT_EQ(outcome.calls, 1);
    EXPECT_TRUE(outcome.result.has_value());
    return outcome;
  }

  BufferPool pool_{{}};
};

ProblemSpec Spec(const Dims& dims, bool causal = false) {
  ProblemSpec spec;
  spec.dims = dims;
  spec.options.causal = causal;
  spec.options.alignment = causal ? Alignment::kBottomRight : Alignment::kUnset;
  spec.outputs = {.lse = true, .weights = WeightsOutput()};
  return spec;
}

void ExpectSameBits(const AttentionResult& actual, const AttentionResult& expected) {
  EXPECT_TRUE(SameBits(FloatsOf(actual.output), FloatsOf(expected.output), expected.output.shape));
  EXPECT_TRUE(SameBits(FloatsOf(*actual.lse), FloatsOf(*expected.lse), expected.lse->shape));
  EXPECT_TRUE(SameBits(FloatsOf(*actual.weights), FloatsOf(*expected.weights), expected.weights->shape));
}

TEST_F(AttentionJobTest, ResultsAreThoseOfTheEngine) {
  for (const bool causal : {false, true}) {
    const AttentionProblem problem(Spec({2, 4, 2, 130, 70, 24, 16}, causal));
    const Outcome outcome = Run(problem.Request());
    ASSERT_THAT(*outcome.result, IsOk());
    const AttentionResult& result = outcome.value();
    EXPECT_EQ(result.output.shape, (std::vector<int64_t>{2, 4, 130, 16}));
    ASSERT_TRUE(result.lse.has_value());
    EXPECT_EQ(result.lse->shape, (std::vector<int64_t>{2, 4, 130}));
    ASSERT_TRUE(result.weights.has_value());
    EXPECT_EQ(result.weights->shape, (std::vector<int64_t>{2, 4, 130, 70}));
    const EngineResult expected = RunEngine(problem);
    EXPECT_TRUE(SameBits(FloatsOf(result.output), expected.output, result.output.shape));
    EXPECT_TRUE(SameBits(FloatsOf(*result.lse), expected.lse, result.lse->shape));
    EXPECT_TRUE(SameBits(FloatsOf(*result.weights), expected.weights, result.weights->shape));
    EXPECT_EQ(result.rows.empty, causal ? 2 * 4 * 60 : 0);
    EXPECT_EQ(result.rows.non_finite, 0);
    EXPECT_EQ(result.rows.pairs, 2 * 4 * (causal ? 70 * 71 / 2 : 130 * 70));
    EXPECT_EQ(result.flops, problem.plan().flops);
    EXPECT_GE(result.tiles, 1);
  }
}

TEST_F(AttentionJobTest, NothingIsReturnedUnasked) {
  ProblemSpec spec = Spec({1, 1, 1, 5, 7, 8, 8});
  spec.outputs = {};
  const Outcome outcome = Run(AttentionProblem(spec).Request());
  EXPECT_FALSE(outcome.value().lse.has_value());
  EXPECT_FALSE(outcome.value().weights.has_value());
  EXPECT_FALSE(outcome.value().scores.has_value());
}

TEST_F(AttentionJobTest, AnyNumberOfWorkersGivesTheSameBits) {
  for (const Dims& dims :
       {Dims{2, 8, 2, 100, 260, 64, 64}, Dims{40, 2, 1, 3, 16, 16, 8}, Dims{1, 4, 4, 300, 300, 32, 32}}) {
    for (const bool causal : {false, true}) {
      const AttentionProblem problem(Spec(dims, causal));
      const Outcome expected = Run(problem.Request());
      for (const int workers : {1, 2, 4}) ExpectSameBits(Run(problem.Request(), workers).value(), expected.value());
    }
  }
}

TEST_F(AttentionJobTest, LoadDoesNotChangeBits) {
  const AttentionProblem problem(Spec({1, 4, 2, 100, 260, 64, 64}, true));
  const Outcome expected = Run(problem.Request());
  Executor executor({.workers = 4}, Clock::Real());
  std::vector<std::unique_ptr<Outcome>> outcomes;
  std::vector<std::unique_ptr<AttentionProblem>> others;
  for (int i = 0; i < (kSanitized ? 6 : 20); ++i) {
    others.push_back(std::make_unique<AttentionProblem>(Spec({1, 2, 1, 20 + i, 90, 40, 24})));
    for (const AttentionProblem* p : {&problem, static_cast<const AttentionProblem*>(others.back().get())}) {
      outcomes.push_back(std::make_unique<Outcome>());
      ASSERT_THAT(executor.Submit(Make(p->Request(), *outcomes.back()), {}), IsOk());
    }
  }
  ASSERT_TRUE(executor.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(5)));
  for (size_t i = 0; i < outcomes.size(); i += 2) ExpectSameBits(outcomes[i]->value(), expected.value());
}

TEST_F(AttentionJobTest, AnEntryAloneEqualsTheEntryInABatch) {
  const Dims dims = {6, 4, 2, 20, 75, 24, 40};
  const AttentionProblem batch(Spec(dims, true));
  const Outcome all = Run(batch.Request(), 2);
  Dims one = dims;
  one.batch = 1;
  for (int64_t b = 0; b < dims.batch; ++b) {
    AttentionProblem alone(Spec(one, true));
    const auto take = [b](const AlignedFloats& from, AlignedFloats& to) {
      std::copy_n(from.begin() + b * static_cast<int64_t>(to.size()), to.size(), to.begin());
    };
    take(batch.query, alone.query);
    take(batch.key, alone.key);
    take(batch.value, alone.value);
    const Outcome outcome = Run(alone.Request());
    const auto expect_part = [b](const ResultTensor& part, const ResultTensor& whole) {
      const auto floats = FloatsOf(part);
      EXPECT_TRUE(
          SameBits(floats, FloatsOf(whole).subspan(static_cast<size_t>(b) * floats.size(), floats.size()), part.shape));
    };
    const AttentionResult& result = outcome.value();
    expect_part(result.output, all.value().output);
    expect_part(*result.lse, *all.value().lse);
    expect_part(*result.weights, *all.value().weights);
  }
}

// The same numbers in every form that one entry and one head can take, and in 3-D.
TEST_F(AttentionJobTest, EveryRankAndLayoutGivesTheSameBits) {
  const AttentionProblem problem(Spec({1, 1, 1, 30, 50, 16, 8}));
  const AttentionRequest four = problem.Request();
  const Outcome expected = Run(four);
  const auto run_as = [&](Layout layout, std::vector<std::vector<int64_t>> shapes, const std::vector<int64_t>& output) {
    AttentionRequest request = four;
    request.layout = layout;
    request.query.shape = shapes[0];
    request.key.shape = shapes[1];
    request.value.shape = shapes[2];
    if (shapes[0].size() == 3) request.heads = request.kv_heads = 1;
    const Outcome outcome = Run(request);
    EXPECT_EQ(outcome.value().output.shape, output);
    ExpectSameBits(outcome.value(), expected.value());
  };
  run_as(Layout::kHeadsFirst, {{30, 16}, {50, 16}, {50, 8}}, {30, 8});
  run_as(Layout::kTokensFirst, {{1, 30, 1, 16}, {1, 50, 1, 16}, {1, 50, 1, 8}}, {1, 30, 1, 8});
  run_as(Layout::kTokensFirst, {{1, 30, 16}, {1, 50, 16}, {1, 50, 8}}, {1, 30, 8});
}

TEST_F(AttentionJobTest, TokensFirstOutputsAreInTokensFirst) {
  ProblemSpec spec = Spec({2, 4, 2, 7, 11, 8, 6});
  spec.layout = Layout::kTokensFirst;
  const AttentionProblem problem(spec);
  const Outcome outcome = Run(problem.Request());
  const EngineResult expected = RunEngine(problem);  // heads first
  const auto output = FloatsOf(outcome.value().output);
  for (size_t b = 0; b < 2; ++b) {
    for (size_t h = 0; h < 4; ++h) {
      for (size_t i = 0; i < 7; ++i) {
        for (size_t c = 0; c < 6; ++c) {
          ASSERT_EQ(output[((b * 7 + i) * 4 + h) * 6 + c], expected.output[((b * 4 + h) * 7 + i) * 6 + c]);
        }
      }
    }
  }
  EXPECT_TRUE(SameBits(FloatsOf(*outcome.value().lse), expected.lse, outcome.value().lse->shape));
}

TEST_F(AttentionJobTest, TensorsMayComeInOddPiecesAtOddAddresses) {
  const AttentionProblem problem(Spec({2, 2, 1, 13, 29, 8, 5}));
  const AttentionRequest whole = problem.Request();
  const Outcome expected = Run(whole);
  Random random(11);
  for (int round = 0; round < 10; ++round) {
    AttentionRequest request = whole;
    std::vector<std::vector<std::byte>> copies;
    for (TensorView* tensor : {&request.query, &request.key, &request.value}) {
      std::vector<std::byte>& bytes = copies.emplace_back(tensor->bytes.size() + 1);
      tensor->bytes.CopyTo(bytes.data() + 1);
      Fragments pieces;
      for (size_t at = 1; at < bytes.size();) {
        const size_t n = std::min(bytes.size() - at, static_cast<size_t>(1 + random.Below(200)));
        pieces.Append(std::span(bytes).subspan(at, n));
        at += n;
      }
      tensor->bytes = pieces;
    }
    ExpectSameBits(Run(request).value(), expected.value());
  }
}

TEST_F(AttentionJobTest, TheOwnerIsDroppedOnceTheTensorsAreCopied) {
  auto problem = std::make_shared<AttentionProblem>(Spec({1, 2, 2, 100, 50, 16, 16}));
  AttentionRequest request = problem->Request();
  const EngineResult expected = RunEngine(*problem);
  std::weak_ptr<AttentionProblem> owner = problem;
  request.owner = std::move(problem);
  Outcome outcome;
  Executor executor({.workers = 0}, Clock::Real());
  ASSERT_THAT(executor.Submit(Make(std::move(request), outcome), {}), IsOk());
  EXPECT_FALSE(owner.expired()) << "still waiting";
  ASSERT_TRUE(executor.RunOne());
  EXPECT_TRUE(owner.expired());
  while (executor.RunOne()) {
  }
  EXPECT_TRUE(SameBits(FloatsOf(outcome.value().output), expected.output, outcome.value().output.shape));
}

TEST_F(AttentionJobTest, EmptyDimensionsGiveEmptyOrZeroResults) {
  const auto run = [&](const Dims& dims) { return Run(AttentionProblem(Spec(dims)).Request(), 1); };
  const Outcome no_batch = run({0, 2, 1, 3, 5, 8, 6});
  EXPECT_EQ(no_batch.value().output.shape, (std::vector<int64_t>{0, 2, 3, 6}));
  EXPECT_EQ(no_batch.value().output.data.size(), 0U);
  EXPECT_EQ(no_batch.value().lse->shape, (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(no_batch.value().weights->shape, (std::vector<int64_t>{0, 2, 3, 5}));
  EXPECT_EQ(no_batch.value().rows.empty, 0);

  const Outcome no_queries = run({2, 2, 1, 0, 5, 8, 6});
  EXPECT_EQ(no_queries.value().output.shape, (std::vector<int64_t>{2, 2, 0, 6}));

  const Outcome no_keys = run({2, 2, 1, 3, 0, 8, 6});
  EXPECT_EQ(no_keys.value().rows.empty, 12);
  EXPECT_EQ(no_keys.value().weights->shape, (std::vector<int64_t>{2, 2, 3, 0}));
  for (const float x : FloatsOf(no_keys.value().output)) EXPECT_EQ(x, 0);
  for (const float x : FloatsOf(*no_keys.value().lse)) EXPECT_EQ(x, -std::numeric_limits<float>::infinity());
}

TEST_F(AttentionJobTest, CancellingBeforeTheStartDropsEverything) {
  auto problem = std::make_shared<AttentionProblem>(Spec({1, 2, 2, 10, 50, 16, 16}));
  AttentionRequest request = problem->Request();
  std::weak_ptr<AttentionProblem> owner = problem;
  request.owner = std::move(problem);
  Outcome outcome;
  Executor executor({.workers = 0}, Clock::Real());
  const std::shared_ptr<Job> job = Make(std::move(request), outcome);
  ASSERT_THAT(executor.Submit(job, {}), IsOk());
  executor.Cancel(job.get());
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_THAT(*outcome.result, IsError(absl::StatusCode::kCancelled, ""));
  EXPECT_TRUE(owner.expired());
  EXPECT_EQ(pool_.used_bytes(), 0U);
}

TEST_F(AttentionJobTest, ADeadlineBetweenTilesReturnsTheMemory) {
  const AttentionProblem problem(Spec({4, 8, 8, 200, 300, 64, 64}));
  ManualClock clock;
  Outcome outcome;
  Executor executor({.workers = 0}, clock);
  ASSERT_THAT(executor.Submit(Make(problem.Request(), outcome), {.deadline = clock.Now() + std::chrono::seconds(1)}),
              IsOk());
  ASSERT_TRUE(executor.RunOne());
  ASSERT_TRUE(executor.RunOne());
  ASSERT_EQ(outcome.calls, 0) << "more than one tile";
  clock.Advance(std::chrono::seconds(2));
  EXPECT_FALSE(executor.RunOne());
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_THAT(*outcome.result, IsError(absl::StatusCode::kDeadlineExceeded, ""));
  EXPECT_EQ(pool_.used_bytes(), 0U);
}

TEST_F(AttentionJobTest, ResultsGiveTheirMemoryBack) {
  {
    const Outcome outcome = Run(AttentionProblem(Spec({1, 2, 2, 10, 50, 16, 16})).Request());
    EXPECT_GT(pool_.used_bytes(), 0U);
  }
  EXPECT_EQ(pool_.used_bytes(), 0U);
}

TEST_F(AttentionJobTest, WithoutMemoryTheJobFails) {
  if (kSanitized) GTEST_SKIP() << "sanitizers end the process at such a size";
  // Weights of 2^50 bytes from tensors that are the same mebibyte many times.
  static const std::vector<std::byte> bytes(size_t{1} << 20);
  constexpr int64_t kLen = int64_t{1} << 24;
  Fragments many;
  for (int64_t i = 0; i < kLen * 4 >> 20; ++i) many.Append(bytes);
  AttentionRequest request;
  for (TensorView* tensor : {&request.query, &request.key, &request.value}) {
    *tensor = {DataType::kFloat32, {kLen, 1}, many};
  }
  request.outputs.weights.emplace();
  auto plan = PlanAttention(request, {.max_output_bytes = std::numeric_limits<int64_t>::max()});
  ASSERT_THAT(plan, IsOk());
  std::optional<absl::Status> status;
  Executor executor({.workers = 0}, Clock::Real());
  ASSERT_THAT(executor.Submit(NewAttentionJob(request, *plan, TestEngine(), &pool_,
                                              [&](const auto& result, const auto&) { status = result.status(); }),
                              {}),
              IsOk());
  while (executor.RunOne()) {
  }
  ASSERT_TRUE(status.has_value());
  EXPECT_THAT(*status, IsError(absl::StatusCode::kResourceExhausted, ""));
  EXPECT_EQ(pool_.used_bytes(), 0U);
}

TEST_F(AttentionJobTest, NonFiniteRowsAreCounted) {
  AttentionProblem problem(Spec({1, 2, 2, 100, 100, 16, 16}, true));
  problem.ValueRow(0, 1, 90)[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Run(problem.Request(), 2).value().rows.non_finite, 10);
}

TEST_F(AttentionJobTest, RowsThatOnlyCostMemoryAreStillManySteps) {
  AttentionProblem problem(Spec({1, 1, 1, 20000, 0, 1, 512}));
  const auto job = NewAttentionJob(problem.Request(), problem.plan(), TestEngine(), &pool_,
                                   [](const absl::StatusOr<AttentionResult>&, const JobTimings&) {});
  const auto steps = job->Prepare();
  ASSERT_THAT(steps, IsOk());
  EXPECT_GE(*steps, 40);
  job->Done(absl::CancelledError("enough"), {});
}

TEST_F(AttentionJobTest, TheSpecCoversInputsAndOutputs) {
  const AttentionPlan plan = AttentionProblem(Spec({2, 4, 2, 30, 70, 24, 16})).plan();
  const JobSpec spec = AttentionJobSpec(plan, TestEngine());
  EXPECT_GE(spec.flops, plan.flops);  // padding and memory traffic are included
  EXPECT_GE(spec.bytes, plan.input_bytes + plan.output_bytes);
  EXPECT_FALSE(spec.deadline.has_value());
  EXPECT_EQ(spec.priority, 0);
}

}  // namespace
}  // namespace attnd
