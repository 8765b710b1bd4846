// Options through a real server: everything a request can ask for arrives, and comes back
// as the same request gives without a server.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "core/attention/attention_job.h"
#include "core/attention/simd_rows.h"
#include "core/runtime/whole_job.h"
#include "tests/support/random_case.h"
#include "tests/support/sanitizers.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

constexpr uint64_t kSeeds = kSanitized ? 40 : 1000;

// The request's result without a server.
absl::StatusOr<AttentionResult> RunHere(const AttentionRequest& request) {
  static auto& pool = *new BufferPool(BufferPool::Options());
  auto plan = PlanAttention(request, AttentionLimits());
  if (!plan.ok()) return plan.status();
  absl::StatusOr<AttentionResult> outcome;
  const auto job = NewAttentionJob(
      request, *std::move(plan), TestEngine(), &pool,
      [&outcome](absl::StatusOr<AttentionResult> result, const JobTimings& /*t*/) { outcome = std::move(result); });
  job->Done(RunWholeJob(*job, Clock::Real()).status, {});
  return outcome;
}

void ExpectSame(const char* name, const codec::ReplyTensor& reply, const ResultTensor& result) {
  SCOPED_TRACE(name);
  EXPECT_EQ(reply.dtype, result.dtype);
  EXPECT_EQ(reply.shape, result.shape);
  std::vector<float> values(result.data.size() / static_cast<size_t>(ElementBytes(result.dtype)));
  if (!values.empty()) {
    simd::LoadRow(result.data.data(), result.dtype, static_cast<int64_t>(values.size()), values.data());
  }
  ASSERT_EQ(reply.values.size(), values.size());
  EXPECT_TRUE(values.empty() || std::memcmp(reply.values.data(), values.data(), values.size() * sizeof(float)) == 0);
}

void ExpectSame(const char* name, const std::optional<codec::ReplyTensor>& reply,
                const std::optional<ResultTensor>& result) {
  ASSERT_EQ(reply.has_value(), result.has_value()) << name;
  if (reply.has_value()) ExpectSame(name, *reply, *result);
}

TEST(OptionsTest, GiveTheSameBitsThroughAServer) {
  const RunningServer server;
  const auto client = *Client::Connect({.address = server.address(), .timeout = kPatience});
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const RequestCase c = RandomCase(seed, {.max_pairs = 4000});
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + c.ToString());
    const AttentionRequest request = BuildRequest(c);
    const auto here = RunHere(request);
    ASSERT_THAT(here, IsOk());
    const auto reply = client->Attend(request);
    ASSERT_THAT(reply, IsOk());
    ExpectSame("output", reply->output, here->output);
    ExpectSame("lse", reply->lse, here->lse);
    ExpectSame("weights", reply->weights, here->weights);
    ExpectSame("scores", reply->scores, here->scores);
    EXPECT_EQ(reply->empty_rows, here->rows.empty);
    EXPECT_EQ(reply->non_finite_rows, here->rows.non_finite);
    EXPECT_EQ(static_cast<double>(reply->flops), here->flops);
  }
}

}  // namespace
}  // namespace attnd
