// A matrix laid out once for being multiplied with again and again.
#ifndef ATTND_CORE_LINEAR_PACKED_MATRIX_H_
#define ATTND_CORE_LINEAR_PACKED_MATRIX_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/tensor.h"
#include "core/linear/onednn.h"
#include "core/linear/projection_weights.h"

namespace attnd {

// Rows of floats, not owned: row r begins at data + r * stride, stride >= width.
struct ConstRows {
  const float* data = nullptr;
  int64_t stride = 0;
};
struct MutableRows {
  float* data = nullptr;
  int64_t stride = 0;
};

// Columns [begin, end) of a matrix.
struct Columns {
  int64_t begin = 0;
  int64_t end = 0;

  [[nodiscard]] int64_t size() const { return end - begin; }
};

// A matrix W [in, out] in float32. Owns its memory. Movable; immutable, so thread-compatible.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  // Packs `weights`, whose two dimensions are as `orientation` says; elements of 16 bits
  // become float32. kResourceExhausted without memory. REQUIRES: CheckWeights accepted it.
  static absl::StatusOr<PackedMatrix> Pack(const TensorView& weights, Orientation orientation);

  [[nodiscard]] int64_t in() const { return in_; }
  [[nodiscard]] int64_t out() const { return out_; }
  // Memory held.
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  // Bytes that a matrix of these extents will hold with the process's engine
  // (linear_engine.h).
  static int64_t BytesFor(int64_t in, int64_t out);

  // y[r][c - columns.begin] = sum_k x[r][k] W[k][c] + bias[c - columns.begin] for `rows`
  // rows and the columns c; `bias` may be nullptr.
  //
  // Every element is one chain of fused multiply-adds over ascending k, from 0, and then
  // the bias is added: its bits depend on x[r], W's column and the bias, and on nothing
  // else: not on the number of rows or columns, nor on which thread computes them. (Where
  // there are no fused multiply-adds, on x86 before AVX2, product and sum round apart.)
  // Memory of `y` is written only where results belong. Thread-safe. kResourceExhausted
  // without scratch, of which a thread keeps at most about 1 MiB.
  absl::Status Multiply(const ConstRows& x, int64_t rows, Columns columns, const float* bias,
                        const MutableRows& y) const;

 private:
  struct FreeDeleter {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, FreeDeleter> data_;
  // Beside it if this matrix is one for oneDNN.
  std::unique_ptr<OnednnMatrix> onednn_;
  int64_t in_ = 0;
  int64_t out_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_PACKED_MATRIX_H_
