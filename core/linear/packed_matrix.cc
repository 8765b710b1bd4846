#include "core/linear/packed_matrix.h"

#include <cmath>
#include <vector>

#include "core/attention/simd_rows.h"

namespace attnd {

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(const TensorView& weights, Orientation orientation) {
  PackedMatrix m;
  const bool in_out = orientation == Orientation::kInOut;
  m.in_ = weights.shape[in_out ? 0 : 1];
  m.out_ = weights.shape[in_out ? 1 : 0];
  m.bytes_ = BytesFor(m.in_, m.out_);
  m.data_.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((m.bytes_ + 63) / 64 * 64))));
  if (m.data_ == nullptr) return absl::ResourceExhaustedError("no memory for weights");
  std::vector<std::byte> raw(weights.bytes.size());
  weights.bytes.CopyTo(raw.data());
  std::vector<float> floats(static_cast<size_t>(m.in_ * m.out_));
  simd::LoadRow(raw.data(), weights.dtype, m.in_ * m.out_, floats.data());
  for (int64_t k = 0; k < m.in_; ++k) {
    for (int64_t c = 0; c < m.out_; ++c) {
      m.data_.get()[k * m.out_ + c] = floats[static_cast<size_t>(in_out ? k * m.out_ + c : c * m.in_ + k)];
    }
  }
  return m;
}

int64_t PackedMatrix::BytesFor(int64_t in, int64_t out) { return in * out * 4; }

absl::Status PackedMatrix::Multiply(const ConstRows& x, int64_t rows, Columns columns, const float* bias,
                                    const MutableRows& y) const {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = columns.begin; c < columns.end; ++c) {
      float sum = 0;
      for (int64_t k = 0; k < in_; ++k) sum = std::fma(x.data[r * x.stride + k], data_.get()[k * out_ + c], sum);
      y.data[r * y.stride + c - columns.begin] = bias == nullptr ? sum : sum + bias[c - columns.begin];
    }
  }
  return absl::OkStatus();
}

}  // namespace attnd
