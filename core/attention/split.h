// Long contexts of few query rows, cut into parts so that several workers share them: runs of
// keys on a fixed grid, whose softmax states are merged in order. Who computes which part
// does not show in the bits, and neither does whether one worker computes them all.
#ifndef ATTND_CORE_ATTENTION_SPLIT_H_
#define ATTND_CORE_ATTENTION_SPLIT_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/plan.h"
#include "core/attention/simd.h"
#include "core/attention/visibility.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// Entries with more stacked rows than this are not cut: they make tiles enough, and states of many
// rows take memory. Unless weights are averaged, a tile has all rows of an entry that is cut.
inline constexpr int64_t kSplitRows = 32;
// Keys of a part: enough to take longer than merging it, and less than some 2 ms. kKeysPerPart up to
// a head_dim and value_dim of 512 together, fewer beyond.
inline constexpr int64_t kKeysPerPart = 8192;
int64_t KeysPerPart(const Dims& dims);

// The parts of an entry's keys, in order.
struct KeyParts {
  int64_t first = 0;
  int64_t count = 1;
  int64_t size = kKeysPerPart;

  [[nodiscard]] KeyRange keys(int64_t part) const {
    if (count == 1) return {0, std::numeric_limits<int64_t>::max()};
    return {(first + part) * size, (first + part + 1) * size};
  }
};

// A function of the entry alone.
KeyParts PartsOf(const AttentionPlan& plan, int64_t batch);

// Sets the states of `rows` rows to those of no keys. acc_stride must be a row's length.
void ClearState(int64_t rows, const simd::RowState& state);

// state = the states of what `state` and then `part` have seen.
void MergeState(int64_t rows, const simd::RowState& part, const simd::RowState& state);

// Most memory that PartialStates takes for the plan, in bytes.
int64_t PartialBytes(const AttentionPlan& plan);

// The states of all parts of a job. Begin first; then thread-safe, but a state is its user's.
class PartialStates {
 public:
  // kResourceExhausted if there is no memory.
  absl::Status Begin(const AttentionPlan& plan, BufferPool* pool);

  // Whether some entry is cut.
  [[nodiscard]] bool any() const { return !entries_.empty(); }
  // One part if the entry is not cut.
  [[nodiscard]] KeyParts parts(int64_t batch) const;

  // REQUIRES for the rest: the entry is cut.
  [[nodiscard]] simd::RowState At(int64_t batch, int64_t kv_head, int64_t part) const;
  // Counts a part as done; true for the last one of its entry and key head.
  bool Done(int64_t batch, int64_t kv_head);
  // The merged state, in the place of the first part's. REQUIRES: all parts are done.
  [[nodiscard]] simd::RowState Merge(int64_t batch, int64_t kv_head) const;

 private:
  struct Entry {
    int64_t batch;
    int64_t rows;
    KeyParts parts;
    // Where the state of key head 0, part 0 begins.
    int64_t first_float;
  };

  [[nodiscard]] const Entry* Find(int64_t batch) const;

  // By batch.
  std::vector<Entry> entries_;
  // Per entry and key head, parts that are not done.
  std::vector<std::atomic<int64_t>> left_;
  Buffer memory_;
  int64_t kv_heads_ = 0;
  int64_t acc_stride_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_SPLIT_H_
