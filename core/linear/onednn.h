// What is used of oneDNN. The only file that knows it is onednn.cc: from there come its
// errors, as absl::Status. Of the code that works with oneDNN 2 and 3 alike.
#ifndef ATTND_CORE_LINEAR_ONEDNN_H_
#define ATTND_CORE_LINEAR_ONEDNN_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attnd {

// "2.6.3".
std::string OnednnLibraryVersion();
// Instruction set that oneDNN may use here, as a word for numerics_id.
std::string OnednnIsa();

// oneDNN works on the calling thread alone from now on: parallelism is across tiles.
void UseOnednnOnThisThreadOnly();

// C [m, n] = A [m, k] op(B) + beta C by dnnl_sgemm, row-major, B being [n, k] if `transpose_b`.
// Thread-safe.
absl::Status OnednnSgemm(bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride,
                         const float* b, int64_t b_stride, float beta, float* c, int64_t c_stride);

// A matrix W [in, out] in the layout that oneDNN's matmul prefers for kRows rows, with its
// kernels. Immutable, so thread-safe.
class OnednnMatrix {
 public:
  // Rows of a product, always.
  static constexpr int64_t kRows = 128;

  // `rows`: W, row-major without gaps. kResourceExhausted without memory.
  static absl::StatusOr<std::unique_ptr<OnednnMatrix>> Pack(const float* rows, int64_t in, int64_t out);
  // Memory that Pack takes; an error where it would fail.
  static absl::StatusOr<int64_t> BytesFor(int64_t in, int64_t out);

  virtual ~OnednnMatrix() = default;

  // y = x W + bias for kRows rows without gaps between them, which would be another kernel
  // with other bits; `bias` may be nullptr. kResourceExhausted without scratch.
  virtual absl::Status Multiply(const float* x, const float* bias, float* y) const = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_ONEDNN_H_
