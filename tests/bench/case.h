// Rows as requests.
#ifndef ATTND_TESTS_BENCH_CASE_H_
#define ATTND_TESTS_BENCH_CASE_H_

#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "tests/bench/rows.h"

namespace attnd::bench {

// A request, alive as long as its copies, and its plan.
struct PlannedRequest {
  AttentionRequest request;
  AttentionPlan plan;
};

// Ends the program if core refuses the row: the table is wrong then.
PlannedRequest PlanRow(const Row& row);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_CASE_H_
