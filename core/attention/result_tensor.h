// Tensors of results.
#ifndef ATTND_CORE_ATTENTION_RESULT_TENSOR_H_
#define ATTND_CORE_ATTENTION_RESULT_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/attention/tensor.h"
#include "core/runtime/buffer_pool.h"

namespace attnd {

// A row-major tensor in memory of its own.
struct ResultTensor {
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  Buffer data;
};

// An intermediate by its name in the contract.
struct NamedResult {
  std::string name;
  ResultTensor tensor;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_RESULT_TENSOR_H_
