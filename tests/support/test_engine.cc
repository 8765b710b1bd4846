#include "tests/support/test_engine.h"

#include <cstdlib>

namespace attnd {

EngineKind TestEngine() {
  static const EngineKind kEngine = [] {
    const char* name = std::getenv("ATTND_TEST_ENGINE");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    return ParseEngine(name == nullptr ? "auto" : name).value();
  }();
  return kEngine;
}

}  // namespace attnd
