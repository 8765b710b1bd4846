// Random valid attention requests: every option, in any combination.
#ifndef ATTND_TESTS_SUPPORT_RANDOM_CASE_H_
#define ATTND_TESTS_SUPPORT_RANDOM_CASE_H_

#include <cstdint>

#include "tests/support/request_case.h"

namespace attnd {

// Bounds of what is drawn. Raising them makes cases slower.
struct RandomCaseOptions {
  // Most (batch, head, query, key) pairs.
  int64_t max_pairs = 6000;
  // Lengths drawn are multiplied by this.
  int64_t length_factor = 1;
  // In percent: keys and values that no row sees hold NaN or Inf; a visible number is NaN.
  int garbage_percent = 25;
  int visible_nan_percent = 2;
};

// The same case for the same arguments, by one compiler.
RequestCase RandomCase(uint64_t seed, const RandomCaseOptions& options);

// The number in the environment variable `name`, such as another seed, or `unset`.
uint64_t FromEnvironment(const char* name, uint64_t unset);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_RANDOM_CASE_H_
