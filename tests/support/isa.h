// Tests every instruction set the machine has: oneDNN reads its limit from the
// environment, the vector loops follow.
#ifndef ATTND_TESTS_SUPPORT_ISA_H_
#define ATTND_TESTS_SUPPORT_ISA_H_

#include <gtest/gtest.h>

namespace attnd {

// Before the first test, limits the vector loops to AVX2 if ONEDNN_MAX_CPU_ISA says so.
//   testing::Environment* const isa = testing::AddGlobalTestEnvironment(new IsaEnvironment);
class IsaEnvironment : public testing::Environment {
 public:
  void SetUp() override;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_ISA_H_
