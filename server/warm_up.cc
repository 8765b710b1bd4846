#include "server/warm_up.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/attention_job.h"
#include "core/attention/plan.h"
#include "core/runtime/mutex.h"

namespace attnd {
namespace {

constexpr int64_t kTokens = 512;
constexpr int64_t kHeadDim = 64;
constexpr int kRounds = 4;

// Hands a job's status from the worker to whoever waits. Thread-safe.
class Outcome {
 public:
  void Set(absl::Status status) ATTND_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    status_ = std::move(status);
    set_.SignalAll();
  }
  absl::Status Await() ATTND_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    while (!status_.has_value()) set_.Wait(mutex_);
    return *status_;
  }

 private:
  Mutex mutex_;
  CondVar set_;
  std::optional<absl::Status> status_ ATTND_GUARDED_BY(mutex_);
};

absl::Status RunOnce(Executor* executor, BufferPool* pool, EngineKind engine, int64_t heads, bool measured) {
  const auto elements = std::make_shared<std::vector<float>>(static_cast<size_t>(heads * kTokens * kHeadDim));
  for (size_t i = 0; i < elements->size(); ++i) (*elements)[i] = static_cast<float>(i % 17) / 17 - 0.5F;
  const TensorView tensor = {
      DataType::kFloat32, {1, heads, kTokens, kHeadDim}, Fragments(std::as_bytes(std::span(*elements)))};
  AttentionRequest request;
  request.query = request.key = request.value = tensor;
  request.owner = elements;
  absl::StatusOr<AttentionPlan> plan = PlanAttention(request, AttentionLimits());
  if (!plan.ok()) return plan.status();
  JobSpec spec = AttentionJobSpec(*plan, engine);
  if (!measured) spec.flops = 0;
  const auto outcome = std::make_shared<Outcome>();
  const auto done = [outcome](const absl::StatusOr<AttentionResult>& result, const JobTimings& /*timings*/) {
    outcome->Set(result.status());
  };
  const absl::Status admitted =
      executor->Submit(NewAttentionJob(std::move(request), *std::move(plan), engine, pool, done), spec);
  return admitted.ok() ? outcome->Await() : admitted;
}

}  // namespace

absl::Status WarmUp(Executor* executor, BufferPool* pool, EngineKind engine) {
  // Enough tiles that no worker is left without.
  const int64_t heads = int64_t{4} * executor->Stats().workers;
  for (int round = 0; round < kRounds; ++round) {
    // The first round's time is that of code generation.
    const bool measured = round > 0;
    if (absl::Status status = RunOnce(executor, pool, engine, heads, measured); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace attnd
