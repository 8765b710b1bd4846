// From a request's tensors, which lie anywhere in pieces, to what engines read: one block of
// aligned memory.
#ifndef ATTND_CORE_ATTENTION_GATHER_H_
#define ATTND_CORE_ATTENTION_GATHER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/request.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// Copies the tensors of a request once, large ones in parts that several threads can take.
// Begin first, then Run for each part, from several threads at the same time.
class Gathering {
 public:
  // Allocates `memory`, points the inputs of `data` there and copies what is small or rotated,
  // in its element types (rotated query and key, slopes and sinks as float32). `plan` must be
  // PlanAttention's answer to `request`, which must stay where it is until all parts have run.
  // Fails with kResourceExhausted without memory.
  absl::Status Begin(const AttentionRequest& request, const AttentionPlan& plan, BufferPool* pool, Buffer& memory,
                     AttentionData& data);

  [[nodiscard]] int64_t parts() const { return static_cast<int64_t>(parts_.size()); }
  // Copies part 0 <= `part` < parts().
  void Run(int64_t part) const;

  struct Part {
    std::span<const std::span<const std::byte>> pieces;
    std::byte* to = nullptr;
  };

 private:
  std::vector<Part> parts_;
};

// The same in one go.
absl::Status GatherInputs(const AttentionRequest& request, const AttentionPlan& plan, BufferPool* pool, Buffer& memory,
                          AttentionData& data);

// For what the options bring alone: masks, biases, slopes and sinks.
absl::Status GatherOptions(const AttentionOptions& options, BufferPool* pool, Buffer& memory, AttentionData& data);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_GATHER_H_
