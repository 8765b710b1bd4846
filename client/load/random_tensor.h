// Numbers to send.
#ifndef ATTND_CLIENT_LOAD_RANDOM_TENSOR_H_
#define ATTND_CLIENT_LOAD_RANDOM_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/attention/tensor.h"

namespace attnd::load {

// splitmix64: the same numbers for the same seed everywhere. Thread-compatible.
class RandomBits {
 public:
  explicit RandomBits(uint64_t seed) : state_(seed) {}

  uint64_t Next();
  // In (0, 1).
  double Uniform();

 private:
  uint64_t state_;
};

// Bytes of `count` numbers of mean 0 and variance 1, rounded to nearest even. REQUIRES:
// IsFloat(dtype).
std::vector<std::byte> NormalNumbers(DataType dtype, int64_t count, RandomBits& random);

// Bytes of `count` booleans of which a share is true.
std::vector<std::byte> RandomMask(double share, int64_t count, RandomBits& random);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_RANDOM_TENSOR_H_
