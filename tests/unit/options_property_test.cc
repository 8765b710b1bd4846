// Every option in any combination against the float64 oracle, under the numerical
// contract. ATTND_SEED=N in the environment begins elsewhere; ATTND_CASES=N runs that many.
#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>

#include "tests/support/isa.h"
#include "tests/support/random_case.h"
#include "tests/support/run_request.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

// So that four processes can share the work.
class OptionsPropertyTest : public testing::TestWithParam<int> {};

TEST_P(OptionsPropertyTest, AnyCombinationMatchesTheOracle) {
  const uint64_t base = FromEnvironment("ATTND_SEED", 20260101) + static_cast<uint64_t>(GetParam()) * 1000000;
  const uint64_t cases = FromEnvironment("ATTND_CASES", kSanitized ? 400 : 10000);
  std::cout << "seeds " << base << " to " << base + cases - 1 << "\n";
  for (uint64_t seed = base; seed < base + cases; ++seed) {
    const RequestCase c = RandomCase(seed, {.max_pairs = seed % 64 == 0 ? 100000 : 6000});
    const CaseResult result = RunCase(c, {});
    EXPECT_TRUE(Matches(c, result, Expect(c))) << "seed " << seed << ": " << c.ToString();
  }
}

INSTANTIATE_TEST_SUITE_P(Quarters, OptionsPropertyTest, testing::Range(0, 4));

}  // namespace
}  // namespace attnd
