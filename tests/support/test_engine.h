// The engine that tests run on: another one is another run of the same test.
#ifndef ATTND_TESTS_SUPPORT_TEST_ENGINE_H_
#define ATTND_TESTS_SUPPORT_TEST_ENGINE_H_

#include "core/attention/engine.h"

namespace attnd {

// The engine that the environment's ATTND_TEST_ENGINE names, `auto` without it. Aborts if
// there is no such engine.
EngineKind TestEngine();

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_TEST_ENGINE_H_
