// Node tests of the ONNX operator `Attention` (opset 23 to 25) as requests of ours.
#ifndef ATTND_TESTS_CONFORMANCE_ONNX_CASE_H_
#define ATTND_TESTS_CONFORMANCE_ONNX_CASE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/request.h"

namespace attnd {

// A result as the case has it.
struct OnnxResult {
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  std::vector<double> values;
};

// A case in our terms. The request owns its tensors.
struct OnnxCase {
  AttentionRequest request;
  OnnxResult output;
  // Whichever qk_matmul_output is.
  std::optional<OnnxResult> weights;
  std::optional<OnnxResult> scores;
};

// Reads a case. A cache is put in front of key and value, and must then be the case's
// present_key and present_value; a mask that ends early is filled up. Fails, saying why, if
// the file is broken or has something that these rules do not know.
absl::StatusOr<OnnxCase> ReadOnnxCase(const std::string& path);

}  // namespace attnd

#endif  // ATTND_TESTS_CONFORMANCE_ONNX_CASE_H_
