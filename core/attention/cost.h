// What a planned request costs a worker, for admission, deadlines and the size of claims.
#ifndef ATTND_CORE_ATTENTION_COST_H_
#define ATTND_CORE_ATTENTION_COST_H_

#include "core/attention/engine.h"
#include "core/attention/plan.h"

namespace attnd {

// Predicted work in floating-point operations of dense attention, whatever else there is to
// do counted as the operations that take as long: padding rows, keys that only neighbours
// see, recomputed scores, masks, biases, rotation and memory traffic. Within a small factor.
double PredictCost(const AttentionPlan& plan, EngineKind engine);

// Predicted work of one unit of `rows` stacked rows that see the most keys any may see.
double LargestUnitCost(const AttentionPlan& plan, int64_t rows);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_COST_H_
