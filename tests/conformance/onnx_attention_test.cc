#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/attention_job.h"
#include "core/runtime/clock.h"
#include "tests/conformance/onnx_case.h"
#include "tests/support/compare.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

// What implementations are held to; a good one is near 1e-7.
constexpr double kTolerance = 3e-5;

absl::StatusOr<AttentionResult> Compute(const AttentionRequest& request, BufferPool& pool) {
  auto plan = PlanAttention(request, {});
  if (!plan.ok()) return plan.status();
  absl::StatusOr<AttentionResult> outcome = absl::InternalError("the job did not call back");
  Executor executor({.workers = 0}, Clock::Real());
  const absl::Status admitted = executor.Submit(
      NewAttentionJob(request, *std::move(plan), EngineKind::kOnednn, &pool,
                      [&](absl::StatusOr<AttentionResult> result, const JobTimings&) { outcome = std::move(result); }),
      {});
  if (!admitted.ok()) return admitted;
  while (executor.RunOne()) {
  }
  return outcome;
}

std::span<const float> FloatsOf(const Buffer& buffer) { return {buffer.floats(), buffer.size() / sizeof(float)}; }

struct Verdict {
  bool passed = false;
  double worst = 0;
};

Verdict Check(const OnnxCase& onnx, BufferPool& pool) {
  const auto result = Compute(onnx.request, pool);
  EXPECT_THAT(result, IsOk());
  if (!result.ok()) return {};
  Verdict verdict{true, 0};
  const auto compare = [&verdict](const Buffer& actual, const std::vector<double>& expected,
                                  const std::vector<int64_t>& shape) {
    const auto same = AlmostEqual(FloatsOf(actual), expected, kTolerance, shape);
    EXPECT_TRUE(same);
    verdict.passed = verdict.passed && same;
    verdict.worst = std::max(verdict.worst, WorstError(FloatsOf(actual), expected));
  };
  compare(result->output, onnx.output, result->output_shape);
  if (!onnx.weights.empty()) compare(result->weights, onnx.weights, result->weights_shape);
  return verdict;
}

TEST(OnnxAttentionTest, VectorsAtHandAreReproduced) {
  int passed = 0;
  int expressible = 0;
  int files = 0;
  double worst = 0;
  BufferPool pool({});
  for (const std::string& directory : OnnxDirectories()) {
    for (const std::string& path : OnnxFiles(directory)) {
      SCOPED_TRACE(path);
      ++files;
      const auto onnx = ReadOnnxCase(path);
      if (absl::IsUnimplemented(onnx.status())) continue;
      ASSERT_THAT(onnx, IsOk());
      ++expressible;
      const Verdict verdict = Check(*onnx, pool);
      passed += verdict.passed ? 1 : 0;
      worst = std::max(worst, verdict.worst);
    }
  }
  if (files == 0) {
    std::cout << "vectors not at hand: set ATTND_CONFORMANCE_DIRS to a directory that holds them\n";
    return;
  }
  std::cout << passed << " of " << expressible << " cases expressible today pass (" << files << " files), worst error "
            << worst << "\n";
}

}  // namespace
}  // namespace attnd
