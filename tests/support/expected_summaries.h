// Summaries of weights from the float64 oracle's full weights, and how far results may be
// from them.
#ifndef ATTND_TESTS_SUPPORT_EXPECTED_SUMMARIES_H_
#define ATTND_TESTS_SUPPORT_EXPECTED_SUMMARIES_H_

#include <gtest/gtest.h>

#include <cstdint>

#include "core/attention/attention_run.h"
#include "tests/support/request_case.h"

namespace attnd {

// Asks the case for all three summaries, with bounds and lists that `seed` draws, and for
// nothing else but all weights of each head in float32, from which they can be made.
void AskForSummaries(uint64_t seed, RequestCase& c);

// Succeeds if top-k are exactly those of the result's own weights and all summaries are those
// of the oracle's, within what the numerical contract leaves to weights. REQUIRES: the
// result is that of a case which AskForSummaries changed.
testing::AssertionResult SummariesMatch(const RequestCase& c, const AttentionResult& result);

// Succeeds if all bits of all summaries are the same.
testing::AssertionResult SameSummaries(const AttentionResult& actual, const AttentionResult& expected);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_EXPECTED_SUMMARIES_H_
