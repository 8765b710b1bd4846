#include "core/linear/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "core/attention/scratch.h"
#include "core/linear/linear_engine.h"
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

bool ForOnednn(int64_t in, int64_t out) {
  return CurrentLinearEngine() == LinearEngine::kOnednn && OnednnHasOurBits(in, out);
}

absl::StatusOr<std::unique_ptr<OnednnMatrix>> PackForOnednn(const float* panels, int64_t in, int64_t out) {
  Scratch rows;
  if (absl::Status status = rows.Reserve(in * out); !status.ok()) return status;
  for (int64_t c = 0; c < out; c += simd::kPanelColumns) {
    const int64_t columns = std::min(out - c, simd::kPanelColumns);
    const float* line = panels + c * in;
    for (int64_t k = 0; k < in; ++k, line += simd::kPanelColumns) {
      std::copy(line, line + columns, rows.data() + k * out + c);
    }
  }
  return OnednnMatrix::Pack(rows.data(), in, out);
}

int64_t PanelBytes(int64_t in, int64_t out) {
  return in * simd::PanelsOf(out) * simd::kPanelColumns * static_cast<int64_t>(sizeof(float));
}

}  // namespace

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(const TensorView& weights, Orientation orientation) {
  const bool in_out = orientation == Orientation::kInOut;
  PackedMatrix matrix;
  matrix.in_ = weights.shape[in_out ? 0 : 1];
  matrix.out_ = weights.shape[in_out ? 1 : 0];
  matrix.bytes_ = BytesFor(matrix.in_, matrix.out_);
  matrix.data_.reset(AllocateFloats(static_cast<size_t>(PanelBytes(matrix.in_, matrix.out_))));
  if (matrix.data_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", matrix.bytes_, " bytes of weights"));
  }
  if (absl::Status status = PackPanels(weights, orientation, matrix.data_.get()); !status.ok()) return status;
  if (ForOnednn(matrix.in_, matrix.out_)) {
    auto onednn = PackForOnednn(matrix.data_.get(), matrix.in_, matrix.out_);
    if (!onednn.ok()) return onednn.status();
    matrix.onednn_ = *std::move(onednn);
  }
  return matrix;
}

int64_t PackedMatrix::BytesFor(int64_t in, int64_t out) {
  return PanelBytes(in, out) + (ForOnednn(in, out) ? OnednnMatrix::BytesFor(in, out).value_or(0) : 0);
}

absl::Status PackedMatrix::Multiply(const ConstRows& x, int64_t rows, Columns columns, const float* bias,
                                    const MutableRows& y) const {
  int64_t done = 0;
  if (onednn_ != nullptr && columns.size() == out_ && x.stride == in_ && y.stride == out_) {
    for (; done + OnednnMatrix::kRows <= rows; done += OnednnMatrix::kRows) {
      absl::Status status = onednn_->Multiply(x.data + done * in_, bias, y.data + done * out_);
      if (!status.ok()) return status;
    }
  }
  // Of the thread: at most about 1 MiB, whatever the matrices.
  static thread_local Scratch scratch;
  if (absl::Status status = scratch.Reserve(simd::PanelScratch(rows - done, in_)); !status.ok()) return status;
  simd::MultiplyPanels({.x = x.data + done * x.stride,
                        .x_stride = x.stride,
                        .rows = rows - done,
                        .panels = data_.get(),
                        .in = in_,
                        .begin = columns.begin,
                        .end = columns.end,
                        .bias = bias,
                        .y = y.data + done * y.stride,
                        .y_stride = y.stride},
                       scratch.data());
  return absl::OkStatus();
}

}  // namespace attnd
