// The part of planning that turns options and wanted outputs into the plan's rules.
#ifndef ATTND_CORE_ATTENTION_PLAN_OPTIONS_H_
#define ATTND_CORE_ATTENTION_PLAN_OPTIONS_H_

#include "absl/status/status.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"

namespace attnd {

// Fills in all that AttentionOptions decides. REQUIRES: layout, dims, queries and keys are
// planned.
absl::Status PlanOptions(const AttentionOptions& options, AttentionPlan& plan);

// Builds plan.visibility.documents if there are documents and PlanOptions left it, because it
// takes long, to the worker that gathers. `options` are those that were planned.
void IndexDocuments(const AttentionOptions& options, AttentionPlan& plan);

// Which results there are and their shapes. REQUIRES: the same.
absl::Status PlanOutputs(const AttentionOutputs& outputs, AttentionPlan& plan);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_PLAN_OPTIONS_H_
