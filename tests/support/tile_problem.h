// A case as engines meet it, and matrix products that do what their contract says and no more.
#ifndef ATTND_TESTS_SUPPORT_TILE_PROBLEM_H_
#define ATTND_TESTS_SUPPORT_TILE_PROBLEM_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/row_tiles.h"
#include "core/runtime/buffer_pool.h"
#include "tests/support/attention_problem.h"
#include "tests/support/request_case.h"
#include "tests/support/run_request.h"

namespace attnd {

// A heads-first case of normal numbers that asks for nothing beside its output.
RequestCase NormalCase(const Dims& dims);

// Lets query q of the case see keys 0 to q + `q_offset`.
void SeeKeysBefore(RequestCase& c, int64_t q_offset);

// The plan and the gathered inputs of a case, and memory for its results that holds NaN in
// any element type. REQUIRES: the case is heads first, and all its queries are used.
class TileProblem {
 public:
  explicit TileProblem(const RequestCase& c);
  TileProblem(const TileProblem&) = delete;
  TileProblem& operator=(const TileProblem&) = delete;

  [[nodiscard]] const AttentionPlan& plan() const { return plan_; }
  [[nodiscard]] const AttentionData& data() const { return data_; }
  // The results as they are.
  [[nodiscard]] CaseResult Result(const RowCounts& rows = {}) const;

 private:
  AttentionPlan plan_;
  BufferPool pool_{{}};
  Buffer inputs_;
  AttentionData data_;
  AlignedFloats output_;
  AlignedFloats lse_;
  AlignedFloats weights_;
  AlignedFloats scores_;
  AlignedFloats row_max_;
  AlignedFloats row_sum_;
};

// Sums in float64. Spoils what a product may write beside its results, and fails the test
// where a caller does not keep to the contract.
class PlainProducts final : public RowProducts {
 public:
  // `more_rows` are written behind those of the tile.
  explicit PlainProducts(int64_t key_block, int64_t more_rows = 0) : key_block_(key_block), more_rows_(more_rows) {}

  [[nodiscard]] int64_t KeyBlock(const Dims& /*dims*/) const override { return key_block_; }
  [[nodiscard]] int64_t RowsWritten(int64_t rows) const override { return rows + more_rows_; }
  absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override;
  absl::Status Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) override;
  absl::Status AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin, int64_t end,
                         float* acc, int64_t acc_stride) override;

  // What the functions return before they do anything.
  absl::Status begin_status;
  absl::Status scores_status;
  absl::Status values_status;
  int products = 0;

 private:
  const int64_t key_block_;
  const int64_t more_rows_;
  int64_t rows_ = 0;
  int64_t head_dim_ = 0;
  std::vector<float> query_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_TILE_PROBLEM_H_
