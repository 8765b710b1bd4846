// Requests whose tensors are so large that workers share the copying.
#include "core/attention/gather.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/attention_job.h"
#include "core/attention/plan.h"
#include "core/runtime/executor.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

constexpr int64_t kDim = 64;
// Tensors of 5 MiB.
constexpr int64_t kEntries = 1280;
constexpr int64_t kTokens = 16;

class GatherTest : public testing::Test {
 protected:
  GatherTest() {
    Random random(3);
    for (auto& tensor : tensors_) {
      tensor.resize(kEntries * kTokens * kDim);
      for (float& x : tensor) x = static_cast<float>(random.Below(1000)) * 1e-3F;
    }
  }

  // In pieces of about `piece` bytes, which end inside elements.
  AttentionRequest Request(size_t piece) {
    AttentionRequest request;
    size_t i = 0;
    for (TensorView* view : {&request.query, &request.key, &request.value}) {
      view->shape = {kEntries, 1, kTokens, kDim};
      auto rest = std::as_bytes(std::span(tensors_[i++]));
      for (size_t n = piece - 1; !rest.empty(); n = piece) {
        const size_t here = std::min(n, rest.size());
        view->bytes.Append(rest.first(here));
        rest = rest.subspan(here);
      }
    }
    return request;
  }

  std::vector<float> tensors_[3];
  BufferPool pool_{{}};
};

TEST_F(GatherTest, PartsCoverEveryByteOnce) {
  for (const size_t piece : {size_t{64} << 10, size_t{3} << 20, size_t{100} << 20}) {
    const AttentionRequest request = Request(piece);
    const auto plan = PlanAttention(request, {});
    ASSERT_THAT(plan, IsOk());
    Gathering gathering;
    Buffer memory;
    AttentionData data;
    ASSERT_THAT(gathering.Begin(request, *plan, &pool_, memory, data), IsOk());
    EXPECT_GE(gathering.parts(), 3);
    std::memset(memory.data(), 0xff, memory.size());
    for (int64_t part = gathering.parts(); part > 0; --part) gathering.Run(part - 1);
    EXPECT_EQ(std::memcmp(data.query, tensors_[0].data(), tensors_[0].size() * sizeof(float)), 0);
    EXPECT_EQ(std::memcmp(data.key, tensors_[1].data(), tensors_[1].size() * sizeof(float)), 0);
    EXPECT_EQ(std::memcmp(data.value, tensors_[2].data(), tensors_[2].size() * sizeof(float)), 0);
  }
}

struct Outcome {
  std::optional<absl::StatusOr<AttentionResult>> result;
  JobTimings timings;
};

std::shared_ptr<Job> JobOf(AttentionRequest request, BufferPool* pool, Outcome& outcome) {
  auto plan = PlanAttention(request, {});
  EXPECT_THAT(plan, IsOk());
  return NewAttentionJob(std::move(request), *std::move(plan), TestEngine(), pool,
                         [&outcome](absl::StatusOr<AttentionResult> result, const JobTimings& timings) {
                           outcome.result = std::move(result);
                           outcome.timings = timings;
                         });
}

TEST_F(GatherTest, WorkersShareTheCopyAndResultsAreTheSame) {
  // One head of a few tokens is copied at once.
  AttentionRequest alone;
  size_t i = 0;
  for (TensorView* view : {&alone.query, &alone.key, &alone.value}) {
    view->shape = {1, 1, kTokens, kDim};
    const size_t last = tensors_[i].size() - kTokens * kDim;
    view->bytes.Append(std::as_bytes(std::span(tensors_[i++]).subspan(last)));
  }
  Outcome expected;
  Executor executor({.workers = 2}, Clock::Real());
  const auto run = [&](AttentionRequest request, Outcome& outcome) {
    ASSERT_THAT(executor.Submit(JobOf(std::move(request), &pool_, outcome), {}), IsOk());
    ASSERT_TRUE(executor.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(1)));
  };
  run(std::move(alone), expected);
  const auto& last = (*expected.result)->output.data;
  for (const size_t piece : {size_t{64} << 10, size_t{3} << 20, size_t{100} << 20}) {
    Outcome outcome;
    run(Request(piece), outcome);
    ASSERT_THAT(*outcome.result, IsOk());
    const auto& all = (*outcome.result)->output.data;
    EXPECT_EQ(std::memcmp(all.data() + all.size() - last.size(), last.data(), last.size()), 0);
    EXPECT_GT(outcome.timings.prepare, Duration(0));
    EXPECT_GT(outcome.timings.compute, Duration(0));
  }
}

// Nobody else holds what the request does.
std::weak_ptr<int> GiveOwner(AttentionRequest& request) {
  auto owner = std::make_shared<int>(1);
  request.owner = owner;
  return owner;
}

TEST_F(GatherTest, TheOwnerStaysUntilTheLastPartIsCopied) {
  AttentionRequest request = Request(size_t{64} << 10);
  const std::weak_ptr<int> watch = GiveOwner(request);
  Outcome outcome;
  Executor executor({.workers = 0}, Clock::Real());
  ASSERT_THAT(executor.Submit(JobOf(std::move(request), &pool_, outcome), {}), IsOk());
  int64_t steps = 0;
  while (!watch.expired() && executor.RunOne()) ++steps;
  EXPECT_GE(steps, 1 + 3 * 2) << "three tensors of more than two parts each, after the first step";
  EXPECT_FALSE(outcome.result.has_value()) << "tiles come after";
  while (executor.RunOne()) {
  }
  ASSERT_TRUE(outcome.result.has_value());
  EXPECT_THAT(*outcome.result, IsOk());
}

TEST_F(GatherTest, CancellingBetweenPartsReturnsTheMemory) {
  AttentionRequest request = Request(size_t{64} << 10);
  const std::weak_ptr<int> watch = GiveOwner(request);
  Outcome outcome;
  Executor executor({.workers = 0}, Clock::Real());
  const auto job = JobOf(std::move(request), &pool_, outcome);
  ASSERT_THAT(executor.Submit(job, {}), IsOk());
  ASSERT_TRUE(executor.RunOne());
  ASSERT_TRUE(executor.RunOne());
  executor.Cancel(job.get());
  ASSERT_TRUE(outcome.result.has_value());
  EXPECT_EQ(outcome.result->status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(pool_.used_bytes(), 0U);
}

}  // namespace
}  // namespace attnd
