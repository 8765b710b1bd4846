#include "core/linear/pack_panels.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/attention/scratch.h"
#include "core/attention/simd_rows.h"
#include "core/attention/simd_transpose.h"
#include "core/linear/simd_linear.h"

namespace attnd {
namespace {

using simd::kPanelColumns;

// Rows and elements of a row at a time: enough for the hardware to see streams, few enough to
// stay in the second cache as they come and as they go.
constexpr int64_t kLines = 64;
constexpr int64_t kChunk = 512;
// One cache line more, so that rows do not compete for the same places of the cache.
constexpr int64_t kRoomStride = kChunk + 16;

// A row-major matrix in pieces.
class MatrixBytes {
 public:
  explicit MatrixBytes(const TensorView& tensor)
      : tensor_(tensor), element_(ElementBytes(tensor.dtype)), row_bytes_(tensor.shape[1] * element_) {
    size_t begin = 0;
    for (const auto& piece : tensor.bytes.pieces()) {
      begins_.push_back(begin);
      begin += piece.size();
    }
  }

  // Elements [begin, end) of a row as float32: where they are, or in `room`.
  const float* Floats(int64_t row, int64_t begin, int64_t end, float* room) const {
    const auto offset = static_cast<size_t>(row * row_bytes_ + begin * element_);
    const auto size = static_cast<size_t>((end - begin) * element_);
    // Bytes that must be moved before they are converted.
    alignas(float) std::byte moved[kChunk * sizeof(float)];
    const std::byte* bytes = Find(offset, size);
    const bool aligned = reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(element_) == 0;
    if (tensor_.dtype == DataType::kFloat32) {
      if (bytes != nullptr && aligned) return reinterpret_cast<const float*>(bytes);
      Copy(offset, size, reinterpret_cast<std::byte*>(room));
      return room;
    }
    if (bytes == nullptr || !aligned) {
      Copy(offset, size, moved);
      bytes = moved;
    }
    simd::LoadRow(bytes, tensor_.dtype, end - begin, room);
    return room;
  }

 private:
  [[nodiscard]] size_t PieceAt(size_t offset) const {
    return static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), offset) - begins_.begin()) - 1;
  }

  // nullptr if they are not in one piece.
  [[nodiscard]] const std::byte* Find(size_t offset, size_t size) const {
    const size_t i = PieceAt(offset);
    const auto& piece = tensor_.bytes.pieces()[i];
    const size_t skip = offset - begins_[i];
    return size <= piece.size() - skip ? piece.data() + skip : nullptr;
  }

  void Copy(size_t offset, size_t size, std::byte* to) const {
    for (size_t i = PieceAt(offset); size > 0; ++i) {
      const auto piece = tensor_.bytes.pieces()[i].subspan(offset - begins_[i]);
      const size_t n = std::min(size, piece.size());
      std::memcpy(to, piece.data(), n);
      to += n;
      offset += n;
      size -= n;
    }
  }

  const TensorView& tensor_;
  const int64_t element_;
  const int64_t row_bytes_;
  // Where each piece begins.
  std::vector<size_t> begins_;
};

// Some rows at a time, whose lines lie together in a panel.
void PackInOut(const MatrixBytes& matrix, int64_t in, int64_t out, float* room, float* panels) {
  for (int64_t k = 0; k < in; k += kLines) {
    const int64_t lines = std::min(in - k, kLines);
    for (int64_t begin = 0; begin < out; begin += kChunk) {
      const int64_t end = std::min(out, begin + kChunk);
      const float* rows[kLines];
      for (int64_t i = 0; i < lines; ++i) rows[i] = matrix.Floats(k + i, begin, end, room + i * kRoomStride);
      for (int64_t c = begin; c < end; c += kPanelColumns) {
        float* to = panels + c * in + k * kPanelColumns;
        const int64_t columns = std::min(end - c, kPanelColumns);
        for (int64_t i = 0; i < lines; ++i, to += kPanelColumns) {
          const float* from = rows[i] + (c - begin);
          // What comes next, here and there: many short runs are nothing the hardware foresees.
          __builtin_prefetch(from + 4 * kPanelColumns);
          __builtin_prefetch(to + in * kPanelColumns, 1);
          if (columns == kPanelColumns) {
            std::memcpy(to, from, kPanelColumns * sizeof(float));
          } else {
            std::copy(from, from + columns, to);
            std::fill(to + columns, to + kPanelColumns, 0.0F);
          }
        }
      }
    }
  }
}

// 16 rows, turned: a panel.
void PackOutIn(const MatrixBytes& matrix, int64_t in, int64_t out, float* room, float* panels) {
  for (int64_t c = 0; c < out; c += kPanelColumns) {
    const int64_t columns = std::min(out - c, kPanelColumns);
    for (int64_t begin = 0; begin < in; begin += kChunk) {
      const int64_t n = std::min(in - begin, kChunk);
      const float* rows[kPanelColumns];
      bool together = columns == kPanelColumns;
      for (int64_t i = 0; i < columns; ++i) {
        rows[i] = matrix.Floats(c + i, begin, begin + n, room + i * kRoomStride);
        together = together && rows[i] == rows[0] + i * in;
      }
      for (int64_t i = 0; i < kPanelColumns && !together; ++i) {
        float* to = room + i * kRoomStride;
        if (i >= columns) {
          std::fill(to, to + n, 0.0F);
        } else if (rows[i] != to) {
          std::copy(rows[i], rows[i] + n, to);
        }
      }
      const float* from = together ? rows[0] : room;
      const int64_t stride = together ? in : kRoomStride;
      const int64_t whole = n / simd::kTransposeMultiple * simd::kTransposeMultiple;
      float* to = panels + c * in + begin * kPanelColumns;
      simd::RowsToStrip(from, stride, kPanelColumns, whole, to);
      for (int64_t k = whole; k < n; ++k) {
        for (int64_t i = 0; i < kPanelColumns; ++i) to[k * kPanelColumns + i] = from[i * stride + k];
      }
    }
  }
}

}  // namespace

absl::Status PackPanels(const TensorView& weights, Orientation orientation, float* panels) {
  Scratch room;
  if (absl::Status status = room.Reserve(kLines * kRoomStride); !status.ok()) return status;
  const MatrixBytes matrix(weights);
  if (orientation == Orientation::kInOut) {
    PackInOut(matrix, weights.shape[0], weights.shape[1], room.data(), panels);
  } else {
    PackOutIn(matrix, weights.shape[1], weights.shape[0], room.data(), panels);
  }
  return absl::OkStatus();
}

}  // namespace attnd
