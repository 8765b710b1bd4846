// Metrics that are looked up when somebody asks.
#ifndef ATTND_SERVER_COLLECTORS_H_
#define ATTND_SERVER_COLLECTORS_H_

#include <prometheus/collectable.h>

#include <memory>

#include "core/linear/weight_store.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

// attnd_queue_*, attnd_worker*, attnd_inflight_bytes, attnd_flops_total, attnd_tiles_total,
// attnd_pool_bytes. The arguments must outlive the collector. Thread-safe.
std::unique_ptr<prometheus::Collectable> NewExecutorCollector(const Executor* executor, const BufferPool* pool);

// attnd_weights_*. `weights` must outlive the collector. Thread-safe.
std::unique_ptr<prometheus::Collectable> NewWeightsCollector(const WeightStore* weights);

// process_*, as Prometheus clients name them. What /proc does not tell is left out.
// Thread-safe.
std::unique_ptr<prometheus::Collectable> NewProcessCollector();

}  // namespace attnd

#endif  // ATTND_SERVER_COLLECTORS_H_
