// From tensors as they arrive to panels.
#ifndef ATTND_CORE_LINEAR_PACK_PANELS_H_
#define ATTND_CORE_LINEAR_PACK_PANELS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "core/attention/tensor.h"
#include "core/linear/projection_weights.h"

namespace attnd {

// Writes the matrix `weights`, as float32, to `panels` (simd_linear.h), 64-byte aligned and
// large enough. Takes scratch that does not grow with the matrix; kResourceExhausted
// without. REQUIRES: CheckWeights accepted the tensor. Thread-safe.
absl::Status PackPanels(const TensorView& weights, Orientation orientation, float* panels);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_PACK_PANELS_H_
