// How much memory attention takes beyond its inputs and outputs.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "core/attention/attention_job.h"
#include "core/attention/plan.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

// A size line of /proc/self/status, in bytes.
int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == name + ":" && status >> kib) return kib * 1024;
  }
  return -1;
}

// The peak of resident memory starts anew.
void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// Runs a request of one head and `len` tokens, and expects it to take at most 200 MiB beside a
// copy of its inputs and its results.
void ExpectWithin200MiB(int64_t len, bool causal, const AttentionOutputs& outputs) {
  constexpr int64_t kDim = 64;
  const std::vector<float> tensor(static_cast<size_t>(len * kDim), 0.25F);
  AttentionRequest request;
  for (TensorView* view : {&request.query, &request.key, &request.value}) {
    view->shape = {len, kDim};
    view->bytes = Fragments(std::as_bytes(std::span(tensor)));
  }
  request.options.causal = causal;
  if (causal) request.options.alignment = Alignment::kTopLeft;
  request.outputs = outputs;
  const auto plan = PlanAttention(request, {});
  ASSERT_THAT(plan, IsOk());

  ResetPeak();
  const int64_t before = StatusBytes("VmRSS");
  BufferPool pool({});
  absl::StatusOr<AttentionResult> result = absl::UnknownError("not done");
  Executor executor({.workers = 0}, Clock::Real());
  ASSERT_THAT(executor.Submit(NewAttentionJob(request, *plan, TestEngine(), &pool,
                                              [&](absl::StatusOr<AttentionResult> r, const JobTimings& /*timings*/) {
                                                result = std::move(r);
                                              }),
                              AttentionJobSpec(*plan, TestEngine())),
              IsOk());
  while (executor.RunOne()) {
  }
  const int64_t peak = StatusBytes("VmHWM");
  ASSERT_THAT(result, IsOk());
  EXPECT_FLOAT_EQ(result->output.data.floats()[len * kDim - 1], 0.25F);
  const int64_t own = plan->input_bytes + BytesOf(*result);
  EXPECT_LE(peak - before, own + (int64_t{200} << 20));
  testing::Test::RecordProperty("mib_above_inputs_and_outputs", std::to_string((peak - before - own) >> 20));
}

// Sanitizers keep memory of their own for all that is used: they see less of it.
constexpr int64_t kShrunk = kSanitized ? 8 : 1;

TEST(MemoryTest, SixteenThousandTokensStayWithin200MiB) {
  AttentionOutputs outputs;
  outputs.lse = true;
  ExpectWithin200MiB(16 * 1024 / kShrunk, /*causal=*/false, outputs);
}

// Their weights would be 4 GiB.
TEST(MemoryTest, SummariesOf32ThousandTokensStayWithin200MiB) {
  AttentionOutputs outputs;
  outputs.diagnostics.emplace().rows = true;
  outputs.top_k.emplace().k = 8;
  outputs.heatmap.emplace();
  ExpectWithin200MiB(32 * 1024 / kShrunk, /*causal=*/true, outputs);
}

}  // namespace
}  // namespace attnd
