// A planned request as a job of the executor: gather, tiles, result.
#ifndef ATTND_CORE_ATTENTION_ATTENTION_JOB_H_
#define ATTND_CORE_ATTENTION_ATTENTION_JOB_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/attention_run.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

// Called once, on any thread, with no lock held; may take the result.
using AttentionCallback = std::function<void(absl::StatusOr<AttentionResult>&&, const JobTimings&)>;

// `plan` must be PlanAttention's answer to `request`. The request's tensors are copied
// once, when a worker takes the job, and its owner is dropped then. `pool` must outlive
// the job and its result.
std::shared_ptr<Job> NewAttentionJob(AttentionRequest request, AttentionPlan plan, EngineKind engine, BufferPool* pool,
                                     AttentionCallback done);

// What the executor needs to know of it, but for priority and deadline.
JobSpec AttentionJobSpec(const AttentionPlan& plan, EngineKind engine);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ATTENTION_JOB_H_
