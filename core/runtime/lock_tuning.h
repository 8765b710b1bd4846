// absl's setting for the locks that gRPC takes.
#ifndef ATTND_CORE_RUNTIME_LOCK_TUNING_H_
#define ATTND_CORE_RUNTIME_LOCK_TUNING_H_

#include "absl/synchronization/mutex.h"

namespace attnd {

// An absl that was built for debugging, as Debian's is, keeps a graph of the order in which
// locks are taken and looks for cycles at every one of the dozens of locks that gRPC takes
// for a call: several microseconds. Call in main, before any thread exists.
inline void TuneLocks() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_LOCK_TUNING_H_
