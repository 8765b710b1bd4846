// Tensors of ONNX cases: types, transposition, joining and filling up.
#ifndef ATTND_TESTS_CONFORMANCE_ONNX_TENSORS_H_
#define ATTND_TESTS_CONFORMANCE_ONNX_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/tensor.h"
#include "core/linear/safetensors.h"

namespace attnd {

// A tensor that owns its bytes, row-major.
struct OwnedTensor {
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  [[nodiscard]] TensorView View() const { return {dtype, shape, Fragments(bytes)}; }
};

// F32, F16, BF16 or BOOL.
absl::StatusOr<OwnedTensor> ToOwned(const StoredTensor& tensor);

// The elements of a tensor for numbers.
std::vector<double> NumbersOf(const OwnedTensor& tensor);

// [a, b, c, d] as [a, c, b, d].
OwnedTensor SwapMiddle(const OwnedTensor& tensor);

// [a, b, n, d] and [a, b, m, d] as [a, b, n + m, d]; of one dtype.
absl::StatusOr<OwnedTensor> Join(const OwnedTensor& first, const OwnedTensor& second);

// The last dimension filled up to `length`: with false, or with -inf.
OwnedTensor FillUp(const OwnedTensor& tensor, int64_t length);

}  // namespace attnd

#endif  // ATTND_TESTS_CONFORMANCE_ONNX_TENSORS_H_
