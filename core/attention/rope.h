// Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864): pair i of a head's
// leading rotary_dim elements is turned by position * theta^(-2i / rotary_dim).
#ifndef ATTND_CORE_ATTENTION_ROPE_H_
#define ATTND_CORE_ATTENTION_ROPE_H_

#include <cstddef>
#include <cstdint>

#include "core/attention/plan.h"

namespace attnd {

enum class RopeTensor { kQuery, kKey };

// Rotates a whole tensor of the plan: `source` has the plan's shape, strides and element
// type, `destination` the same in float32; they may be the same memory if that is
// float32. Angles are computed in double. REQUIRES: plan.rope. Thread-safe.
void ApplyRope(const AttentionPlan& plan, RopeTensor tensor, const std::byte* source, float* destination);

// The same for tokens [begin, end) of entry `b` only, in place.
void ApplyRopeInPlace(const AttentionPlan& plan, RopeTensor tensor, int64_t b, int64_t begin, int64_t end, float* rows);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_ROPE_H_
