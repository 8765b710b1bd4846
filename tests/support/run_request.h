// Runs a request the way the server does, from its job's Prepare to its result, and reads
// the result into floats.
#ifndef ATTND_TESTS_SUPPORT_RUN_REQUEST_H_
#define ATTND_TESTS_SUPPORT_RUN_REQUEST_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/attention_job.h"
#include "core/attention/engine.h"
#include "core/attention/reference.h"
#include "tests/support/request_case.h"

namespace attnd {

// One entry's results, heads first in every layout; empty where not asked for.
struct EntryResult {
  // [heads, q_count, value_dim].
  std::vector<float> output;
  // [heads, q_count].
  std::vector<float> lse;
  // [heads or 1, listed rows or q_count, kv_count].
  std::vector<float> weights;
  // [heads, q_count, kv_count].
  std::vector<float> scores;
};

struct CaseResult {
  std::vector<EntryResult> entries;
  RowCounts rows;
};

struct RunOptions {
  // Worker threads; 0: on the calling thread.
  int workers = 0;
  // The job's tiles in an order that this determines, if no worker does.
  std::optional<uint64_t> shuffle_seed = std::nullopt;
  // TestEngine() if unset.
  std::optional<EngineKind> engine = std::nullopt;
};

// Fails the test, and returns no entries, if the request is refused or fails. Result
// memory holds NaN before, so that what is not written shows.
CaseResult RunCase(const RequestCase& c, const RunOptions& options);

// The same, as the job gives it.
absl::StatusOr<AttentionResult> RunForResult(const RequestCase& c, const RunOptions& options);

// Succeeds if all bits of all results are the same; what one of the two did not ask for is
// not compared.
testing::AssertionResult SameResults(const CaseResult& actual, const CaseResult& expected);
testing::AssertionResult SameEntry(const EntryResult& actual, const EntryResult& expected);

// The float64 oracle's word on a case, and how far a result may be from it.
struct ExpectedResult {
  struct Entry {
    std::vector<double> output;
    std::vector<double> lse;
    std::vector<double> weights;
    std::vector<double> scores;
  };
  std::vector<Entry> entries;
  RowCounts rows;
  // Output: the numerical contract. Weights are the output for unit values; a row's LSE is
  // off by no more than its logits and its sum; scores by their own products.
  double output_tolerance = 0;
  double lse_tolerance = 0;
  double weights_tolerance = 0;
  double scores_tolerance = 0;
};
ExpectedResult Expect(const RequestCase& c);

// Succeeds if everything that was asked for is within tolerance, rows without a key are
// exactly 0 and -inf, and rows and pairs are counted right.
testing::AssertionResult Matches(const RequestCase& c, const CaseResult& result, const ExpectedResult& expected);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_RUN_REQUEST_H_
