#include "tests/support/isa.h"

#include <cstdlib>
#include <iostream>
#include <string_view>

#include "core/attention/simd.h"
#include "hwy/targets.h"

namespace attnd {

void IsaEnvironment::SetUp() {
  const char* limit = std::getenv("ONEDNN_MAX_CPU_ISA");
#if HWY_ARCH_X86
  if (limit != nullptr && std::string_view(limit) == "AVX2") {
    // A better target has a lower bit. Not DisableTargets: in Highway 1.0 a later
    // SupportedTargets() undoes it for dispatch.
    hwy::SetSupportedTargetsForTest(hwy::SupportedTargets() & ~(HWY_AVX2 - 1));
  }
#endif
  std::cout << "vector loops: " << simd::TargetName() << ", oneDNN's limit: " << (limit == nullptr ? "none" : limit)
            << "\n";
}

}  // namespace attnd
