// Vector code in every instruction set this machine has. Users link Highway.
#ifndef ATTND_TESTS_SUPPORT_SIMD_TARGETS_H_
#define ATTND_TESTS_SUPPORT_SIMD_TARGETS_H_

#include <gtest/gtest.h>

#include <cstdint>

#include "core/attention/simd.h"
#include "hwy/targets.h"

namespace attnd {

// Runs `body` once per instruction set.
template <typename Body>
void ForEachTarget(const Body& body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(simd::TargetName());
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_SIMD_TARGETS_H_
