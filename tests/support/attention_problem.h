// A whole attention problem from a few numbers: tensors, request, plan, and ways to run it.
#ifndef ATTND_TESTS_SUPPORT_ATTENTION_PROBLEM_H_
#define ATTND_TESTS_SUPPORT_ATTENTION_PROBLEM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/reference.h"
#include "core/attention/request.h"

namespace attnd {

// Memory as the buffer pool gives it: 64-byte aligned, from 2 MiB on in huge pages where
// the system has them.
void* AllocateAligned(size_t bytes);
// `bytes` as allocated.
void FreeAligned(void* memory, size_t bytes);

// The same for std::vector.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <typename U>
  explicit AlignedAllocator(const AlignedAllocator<U>& /*other*/) {}
  T* allocate(size_t n) { return static_cast<T*>(AllocateAligned(n * sizeof(T))); }
  void deallocate(T* p, size_t n) { FreeAligned(p, n * sizeof(T)); }
  bool operator==(const AlignedAllocator& /*other*/) const { return true; }
};
using AlignedFloats = std::vector<float, AlignedAllocator<float>>;

struct ProblemSpec {
  Dims dims = {1, 1, 1, 1, 1, 1, 1};
  Layout layout = Layout::kHeadsFirst;
  AttentionOptions options;
  AttentionOutputs outputs;
  uint64_t seed = 1;
  // The query's elements are normal numbers times this.
  float query_factor = 1;

  // One line for SCOPED_TRACE.
  [[nodiscard]] std::string ToString() const;
};

// Owns the tensors (in the spec's layout, 4-D) and the plan. Change the tensors freely
// before running. Fails the test at construction if the request is refused.
class AttentionProblem {
 public:
  explicit AttentionProblem(const ProblemSpec& spec);

  [[nodiscard]] AttentionRequest Request() const;
  [[nodiscard]] const AttentionPlan& plan() const { return plan_; }
  // Inputs only.
  [[nodiscard]] AttentionData Inputs() const;

  // Element 0 of a row, in whatever layout.
  float* QueryRow(int64_t b, int64_t h, int64_t i);
  float* KeyRow(int64_t b, int64_t h, int64_t j);
  float* ValueRow(int64_t b, int64_t h, int64_t j);

  AlignedFloats query;
  AlignedFloats key;
  AlignedFloats value;

 private:
  ProblemSpec spec_;
  AttentionPlan plan_;
};

// What an engine made of a problem. output is heads first in every layout.
struct EngineResult {
  std::vector<float> output;
  std::vector<float> lse;
  std::vector<float> weights;
  RowCounts rows;
};

// Output, lse and weights buffers of a problem, filled with a signalling pattern.
struct OutputBuffers {
  explicit OutputBuffers(const AttentionPlan& plan);

  // `inputs` with pointers to these buffers.
  [[nodiscard]] AttentionData Bind(AttentionData inputs);
  // `output` reordered to heads first.
  [[nodiscard]] std::vector<float> HeadsFirstOutput(const AttentionPlan& plan) const;

  AlignedFloats output;
  AlignedFloats lse;
  AlignedFloats weights;
};

// A NaN that no computation makes: rows nobody wrote keep it.
inline constexpr uint32_t kUntouchedBits = 0x7FC0BEEF;

// Shapes of the results, heads first.
std::vector<int64_t> OutputShape(const AttentionPlan& plan);
std::vector<int64_t> LseShape(const AttentionPlan& plan);
std::vector<int64_t> WeightsShape(const AttentionPlan& plan);

// The tiles of a plan, in order, of at most `rows_per_tile` rows.
std::vector<Tile> TilesOf(const AttentionPlan& plan, int64_t rows_per_tile);

// Runs `tiles` in the given order on this thread's engine.
EngineResult RunTiles(const AttentionPlan& plan, const AttentionData& inputs, const std::vector<Tile>& tiles);
// Runs all tiles in order.
EngineResult RunEngine(const AttentionPlan& plan, const AttentionData& inputs);
EngineResult RunEngine(const AttentionProblem& problem);

// Bounds in the spirit of OutputTolerance. Weights are the output for unit values, and a
// row's LSE is off by no more than its logits and its sum.
struct Tolerances {
  double output = 0;
  double lse = 0;
  double weights = 0;
};
Tolerances TolerancesOf(const AttentionRequest& request, const ReferenceResult<double>& exact);

// Compares everything the result holds with the oracle.
void ExpectMatchesReference(const AttentionProblem& problem, const EngineResult& result);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_ATTENTION_PROBLEM_H_
