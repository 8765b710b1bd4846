#include "core/linear/packed_matrix.h"

#include <sys/mman.h>

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "core/attention/scratch.h"
#include "core/linear/pack_panels.h"
#include "core/linear/simd_linear.h"

namespace attnd {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

float* AllocateFloats(size_t bytes) {
  const bool huge = bytes >= kHugePage;
  void* memory = nullptr;
  if (posix_memalign(&memory, huge ? kHugePage : kCacheLine, bytes) != 0) return nullptr;
  // Advice only, and for whole huge pages: the matrix must not hold more than it says.
  if (huge) (void)madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return static_cast<float*>(memory);
}

}  // namespace

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(const TensorView& weights, Orientation orientation) {
  const bool in_out = orientation == Orientation::kInOut;
  PackedMatrix matrix;
  matrix.in_ = weights.shape[in_out ? 0 : 1];
  matrix.out_ = weights.shape[in_out ? 1 : 0];
  matrix.bytes_ = BytesFor(matrix.in_, matrix.out_);
  matrix.data_.reset(AllocateFloats(static_cast<size_t>(matrix.bytes_)));
  if (matrix.data_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", matrix.bytes_, " bytes of weights"));
  }
  if (absl::Status status = PackPanels(weights, orientation, matrix.data_.get()); !status.ok()) return status;
  return matrix;
}

int64_t PackedMatrix::BytesFor(int64_t in, int64_t out) {
  return in * simd::PanelsOf(out) * simd::kPanelColumns * static_cast<int64_t>(sizeof(float));
}

absl::Status PackedMatrix::Multiply(const ConstRows& x, int64_t rows, Columns columns, const float* bias,
                                    const MutableRows& y) const {
  // Of the thread: at most about 2 MiB, whatever the matrices.
  static thread_local Scratch scratch;
  if (absl::Status status = scratch.Reserve(simd::PanelScratch(rows, in_)); !status.ok()) return status;
  simd::MultiplyPanels({.x = x.data,
                        .x_stride = x.stride,
                        .rows = rows,
                        .panels = data_.get(),
                        .in = in_,
                        .begin = columns.begin,
                        .end = columns.end,
                        .bias = bias,
                        .y = y.data,
                        .y_stride = y.stride},
                       scratch.data());
  return absl::OkStatus();
}

}  // namespace attnd
