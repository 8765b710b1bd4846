#include "tests/bench/runs.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/attention/attention_job.h"
#include "core/attention/gather.h"
#include "core/attention/plan_options.h"
#include "core/attention/summaries.h"
#include "core/runtime/clock.h"
#include "tests/support/attention_problem.h"

namespace attnd::bench {
namespace {

void EndUnlessOk(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "attnd_bench: %s\n", status.ToString().c_str());
  std::abort();
}

Executor::Options OptionsOf(int workers) {
  Executor::Options options;
  options.workers = workers;
  options.nice = 0;
  return options;
}

}  // namespace

KernelRun::KernelRun(const Row& row, EngineKind engine) : engine_(engine) {
  PlannedRequest planned = PlanRow(row);
  plan_ = std::move(planned.plan);
  EndUnlessOk(GatherInputs(planned.request, plan_, &pool_, input_, data_));
  IndexDocuments(planned.request.options, plan_);
  auto output = pool_.Allocate(static_cast<size_t>(plan_.output_bytes));
  EndUnlessOk(output.status());
  output_ = *std::move(output);
  data_.output = output_.data();
  tiles_ = TilesOf(plan_, RowsPerTile(engine, plan_));
}

void KernelRun::TouchOutput() { std::memset(output_.data(), 0, output_.size()); }

void KernelRun::operator()() {
  TileEngine& engine = EngineForThisThread(engine_);
  Summaries summaries;
  EndUnlessOk(summaries.Begin(plan_, &pool_));
  data_.summaries = summaries.data();
  int64_t pairs = 0;
  for (const Tile& tile : tiles_) {
    const auto counts = engine.Run(plan_, data_, tile);
    EndUnlessOk(counts.status());
    pairs += counts->pairs;
  }
  summaries.Finish(plan_);
  flops_ = 2 * static_cast<double>(pairs) * static_cast<double>(plan_.dims.head_dim + plan_.dims.value_dim);
}

RequestRun::RequestRun(const Row& row, EngineKind engine, int workers)
    : engine_(engine), workers_(workers), planned_(PlanRow(row)), executor_(OptionsOf(workers), Clock::Real()) {}

void RequestRun::operator()() {
  const auto job = NewAttentionJob(planned_.request, planned_.plan, engine_, &pool_,
                                   [this](const absl::StatusOr<AttentionResult>& result, const JobTimings& timings) {
                                     EndUnlessOk(result.status());
                                     flops_ = result->flops;
                                     compute_seconds_ = Seconds(timings.compute);
                                   });
  EndUnlessOk(executor_.Submit(job, AttentionJobSpec(planned_.plan, engine_)));
  if (workers_ > 0) {
    (void)executor_.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(10));
    return;
  }
  while (executor_.RunOne()) {
  }
}

}  // namespace attnd::bench
