// A first computation before the first client's.
#ifndef ATTND_SERVER_WARM_UP_H_
#define ATTND_SERVER_WARM_UP_H_

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

// Runs attention on every worker: kernels are compiled, scratch and pages are resident,
// and the executor has measured its speed. Returns when done, normally within a tenth of a
// second. A failure means that this server could not serve.
absl::Status WarmUp(Executor* executor, BufferPool* pool, EngineKind engine);

}  // namespace attnd

#endif  // ATTND_SERVER_WARM_UP_H_
