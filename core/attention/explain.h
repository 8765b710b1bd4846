// Every intermediate of a small problem, for those who follow the arithmetic by hand: what
// proto/attnd/v1/attention.proto calls AttendResponse.explain.
#ifndef ATTND_CORE_ATTENTION_EXPLAIN_H_
#define ATTND_CORE_ATTENTION_EXPLAIN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/attention/result_tensor.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// Most weights of a problem that is explained: there are six tensors of that size, and nobody
// reads more.
inline constexpr int64_t kMaxExplainedWeights = 65536;

// Plans tensors of `pairs` elements each, or says that these are too many.
absl::Status PlanExplain(PairOutputPlan pairs, AttentionPlan& plan);

// Stages of the scores that are explained, each in a pass over the problem.
int64_t ExplainedStages(bool has_softcap);

// The tensors by name, in the contract's order, not yet filled. REQUIRES: plan.explain is set,
// and `plan` is the plan of `request`.
absl::StatusOr<std::vector<NamedResult>> AllocateExplained(const AttentionRequest& request, const AttentionPlan& plan,
                                                           BufferPool* pool);

// Fills them with the bits that outputs.scores and outputs.weights have in float32, by running
// all tiles of the problem once for each stage. Of `data` only inputs are read. Runs on the
// calling thread, and fails as TileEngine::Run does.
absl::Status Explain(const AttentionPlan& plan, const AttentionData& data, EngineKind engine,
                     std::vector<NamedResult>& explained);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_EXPLAIN_H_
