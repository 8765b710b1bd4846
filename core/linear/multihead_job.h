// Multi-head attention from embeddings as a job of the executor.
#ifndef ATTND_CORE_LINEAR_MULTIHEAD_JOB_H_
#define ATTND_CORE_LINEAR_MULTIHEAD_JOB_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "core/attention/engine.h"
#include "core/linear/multihead_plan.h"
#include "core/linear/multihead_run.h"
#include "core/linear/packed_weights.h"
#include "core/linear/projection_weights.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

// Called once, on any thread, with no lock held; may take the result.
using MultiHeadCallback = std::function<void(absl::StatusOr<MultiHeadResult>&&, const JobTimings&)>;

// Where the weights come from: registered, or with the request, to be packed by the job.
struct WeightsSource {
  std::shared_ptr<const PackedWeights> registered;
  // Its bytes are kept alive by the request's owner. Not used if `registered` is set.
  ProjectionWeights with_request;
  WeightShapes shapes;
};

// `planned` was planned for these weights. The request's tensors are copied once, when a
// worker takes the job, and its owner is dropped then. `pool` must outlive the job and its
// result.
std::shared_ptr<Job> NewMultiHeadJob(PlannedMultiHead planned, WeightsSource weights, EngineKind engine,
                                     BufferPool* pool, MultiHeadCallback done);

// What the executor needs to know of it, but for priority and deadline.
JobSpec MultiHeadJobSpec(const PlannedMultiHead& planned, const WeightsSource& weights, EngineKind engine);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_MULTIHEAD_JOB_H_
