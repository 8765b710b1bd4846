// Runs requests that ask to be explained, for tests of what comes.
#ifndef ATTND_TESTS_UNIT_EXPLAINED_H_
#define ATTND_TESTS_UNIT_EXPLAINED_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/attention_job.h"
#include "core/attention/explain.h"
#include "tests/support/request_case.h"
#include "tests/support/status_matchers.h"

namespace attnd {

inline BufferPool& Pool() {
  static BufferPool pool({.max_free_bytes = size_t{64} << 20});
  return pool;
}

// Leaves NaN in blocks of all sizes that results have.
inline void SpoilPool() {
  std::vector<Buffer> blocks;
  for (size_t size = 64; size <= size_t{1} << 18; size += size / 4) {
    for (int i = 0; i < 10; ++i) {
      blocks.push_back(*Pool().Allocate(size));
      std::memset(blocks.back().data(), 0xFF, size);
    }
  }
}

// The result, whose bytes are those that were planned. Fails the test if there is none.
inline AttentionResult Compute(const RequestCase& c, EngineKind engine) {
  AttentionRequest request = BuildRequest(c);
  auto plan = PlanAttention(request, {});
  EXPECT_THAT(plan, IsOk()) << c.ToString();
  if (!plan.ok()) return {};
  const int64_t promised = plan->output_bytes;
  absl::StatusOr<AttentionResult> outcome = absl::UnknownError("not called back");
  const auto job = NewAttentionJob(
      std::move(request), *std::move(plan), engine, &Pool(),
      [&outcome](absl::StatusOr<AttentionResult> result, const JobTimings&) { outcome = std::move(result); });
  auto claims = job->Prepare();
  EXPECT_THAT(claims, IsOk());
  absl::Status status;
  while (claims.ok() && *claims > 0) {
    for (int64_t i = 0; i < *claims && status.ok(); ++i) status = job->RunTile(i);
    *claims = job->NextStage();
  }
  job->Done(status, {});
  EXPECT_THAT(outcome, IsOk()) << c.ToString();
  if (!outcome.ok()) return {};
  EXPECT_EQ(BytesOf(*outcome), promised);
  return *std::move(outcome);
}

// The explained tensor of that name, or nullptr.
inline const ResultTensor* Find(const AttentionResult& result, const std::string& name) {
  for (const NamedResult& named : result.explain) {
    if (named.name == name) return &named.tensor;
  }
  return nullptr;
}

inline std::vector<float> FloatsOf(const ResultTensor& tensor) {
  const size_t n = tensor.data.size() / sizeof(float);
  return {tensor.data.floats(), tensor.data.floats() + n};
}

}  // namespace attnd

#endif  // ATTND_TESTS_UNIT_EXPLAINED_H_
