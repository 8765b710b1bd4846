// From a request's tensors, which lie anywhere in pieces, to what engines read: one block of
// aligned memory.
#ifndef ATTND_CORE_ATTENTION_GATHER_H_
#define ATTND_CORE_ATTENTION_GATHER_H_

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// Copies the tensors once, in their element types (rotated query and key, slopes and sinks
// as float32), into `memory`, and points the inputs of `data` there. `plan` must be
// PlanAttention's answer to `request`. Fails with kResourceExhausted without memory.
absl::Status GatherInputs(const AttentionRequest& request, const AttentionPlan& plan, BufferPool* pool, Buffer& memory,
                          AttentionData& data);

// The same for what the options bring alone: masks, biases, slopes and sinks.
absl::Status GatherOptions(const AttentionOptions& options, BufferPool* pool, Buffer& memory, AttentionData& data);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_GATHER_H_
