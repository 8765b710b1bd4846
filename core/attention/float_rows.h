// Rows of keys or values as the kernels want them: float32, their number a multiple of the
// vector length. They are used in place where they are that already, and brought into
// scratch, a block at a time, where they are not.
#ifndef ATTND_CORE_ATTENTION_FLOAT_ROWS_H_
#define ATTND_CORE_ATTENTION_FLOAT_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "core/attention/scratch.h"
#include "core/attention/tensor.h"

namespace attnd {

// Tokens of one head of a tensor. Does not own them.
struct TokenRows {
  const std::byte* base = nullptr;
  DataType dtype = DataType::kFloat32;
  // Elements from one token to the next, and of one.
  int64_t stride = 0;
  int64_t dim = 0;
  // Tokens that may be read.
  int64_t count = 0;
};

// Rows with `stride` floats from one to the next.
struct FloatRows {
  const float* data = nullptr;
  int64_t stride = 0;

  [[nodiscard]] const float* row(int64_t i) const { return data + i * stride; }
  // The same as tokens of `dim` elements.
  [[nodiscard]] TokenRows AsTokens(int64_t dim, int64_t count) const {
    return {reinterpret_cast<const std::byte*>(data), DataType::kFloat32, stride, dim, count};
  }
};

// Thread-compatible.
class FloatRowsLoader {
 public:
  // Tokens [begin, end), followed by rows that are finite if `finite`, until their number is
  // a multiple of `multiple`. Valid until the next call.
  absl::StatusOr<FloatRows> Load(const TokenRows& tokens, int64_t begin, int64_t end, int64_t multiple, bool finite);

 private:
  Scratch scratch_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_FLOAT_ROWS_H_
