// Node tests of the ONNX operator `Attention` (opset 23 and 24) as requests of ours.
#ifndef ATTND_TESTS_CONFORMANCE_ONNX_CASE_H_
#define ATTND_TESTS_CONFORMANCE_ONNX_CASE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/request.h"
#include "core/linear/safetensors.h"

namespace attnd {

// A case in our terms. The request's tensors belong to `file`.
struct OnnxCase {
  std::string name;
  Safetensors file;
  AttentionRequest request;
  // Expected results; empty where the case has none.
  std::vector<double> output;
  std::vector<double> weights;
};

// Directories that hold vectors: those of ATTND_CONFORMANCE_DIRS (separated by colons),
// or else the one beside the sources. Only those that exist.
std::vector<std::string> OnnxDirectories();

// The .safetensors files of a directory, sorted.
std::vector<std::string> OnnxFiles(const std::string& directory);

// Reads a case. Fails with kUnimplemented, saying why, if it needs what requests cannot
// say yet, and otherwise if the file is broken.
absl::StatusOr<OnnxCase> ReadOnnxCase(const std::string& path);

}  // namespace attnd

#endif  // ATTND_TESTS_CONFORMANCE_ONNX_CASE_H_
