// Top-k, diagnostics and heatmaps of random requests with every option, against those made
// of the float64 oracle's full weights. ATTND_SEED=N begins elsewhere; ATTND_CASES=N runs that
// many.
#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>

#include "tests/support/expected_summaries.h"
#include "tests/support/isa.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

void CheckCases(uint64_t seed, uint64_t cases, const RandomCaseOptions& options) {
  seed += FromEnvironment("ATTND_SEED", 0);
  const uint64_t end = seed + FromEnvironment("ATTND_CASES", kSanitized ? cases / 10 : cases);
  std::cout << "seeds " << seed << " to " << end - 1 << "\n";
  for (; seed < end && !testing::Test::HasFailure(); ++seed) {
    RequestCase c = RandomCase(seed, options);
    AskForSummaries(seed, c);
    for (const EngineKind engine : {EngineKind::kFused, EngineKind::kOnednn}) {
      const auto result = RunForResult(c, {.engine = engine});
      ASSERT_TRUE(result.ok());
      EXPECT_TRUE(SummariesMatch(c, *result)) << EngineName(engine) << ", seed " << seed << ": " << c.ToString();
    }
  }
}

TEST(SummariesPropertyTest, SmallCasesMatchTheOraclesWeights) { CheckCases(1, 3000, {.max_pairs = 6000}); }

TEST(SummariesPropertyTest, LargeCasesMatchTheOraclesWeights) {
  CheckCases(100000, 60, {.max_pairs = 400000, .length_factor = 6});
}

}  // namespace
}  // namespace attnd
