#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "client/client.h"
#include "tests/conformance/onnx_case.h"
#include "tests/conformance/vector_files.h"
#include "tests/support/compare.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

// Largest |difference| / (1 + |expected|). Expected results carry the error of whoever
// computed them, in float16 perhaps: these are the tolerances of ONNX Runtime's own tests.
double Allowed(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return 3e-3;
    case DataType::kBfloat16:
      return 2e-2;
    default:
      return 3e-5;
  }
}

double ErrorOf(double actual, double expected) {
  if (actual == expected || (std::isnan(actual) && std::isnan(expected))) return 0;
  const double error = std::abs(actual - expected) / (1 + std::abs(expected));
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

// The worst error so far by type.
using Worst = std::map<DataType, double>;

testing::AssertionResult Matches(const codec::ReplyTensor& actual, const OnnxResult& expected, Worst* worst) {
  if (actual.dtype != expected.dtype || actual.shape != expected.shape ||
      actual.values.size() != expected.values.size()) {
    return testing::AssertionFailure() << DataTypeName(actual.dtype) << " " << ShapeString(actual.shape)
                                       << ", expected " << DataTypeName(expected.dtype) << " "
                                       << ShapeString(expected.shape);
  }
  double largest = 0;
  size_t at = 0;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const double error = ErrorOf(static_cast<double>(actual.values[i]), expected.values[i]);
    if (error <= largest) continue;
    largest = error;
    at = i;
  }
  double& so_far = (*worst)[expected.dtype];
  so_far = std::max(so_far, largest);
  if (largest <= Allowed(expected.dtype)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "worst at " << IndexString(static_cast<int64_t>(at), expected.shape) << " of "
                                     << ShapeString(expected.shape) << ": " << actual.values[at] << ", expected "
                                     << expected.values[at] << ", error " << largest << ", allowed "
                                     << Allowed(expected.dtype);
}

testing::AssertionResult Passes(const std::string& path, Client& client, Worst* worst) {
  const auto onnx = ReadOnnxCase(path);
  if (!onnx.ok()) return testing::AssertionFailure() << "cannot be expressed: " << onnx.status();
  const auto reply = client.Attend(onnx->request);
  if (!reply.ok()) return testing::AssertionFailure() << reply.status();
  if (auto same = Matches(reply->output, onnx->output, worst); !same) return same << " (Y)";
  for (const auto& [actual, expected] :
       {std::pair{&reply->weights, &onnx->weights}, std::pair{&reply->scores, &onnx->scores}}) {
    if (actual->has_value() != expected->has_value()) {
      return testing::AssertionFailure() << "qk_matmul_output is missing, or was not asked for";
    }
    if (!expected->has_value()) continue;
    if (auto same = Matches(**actual, **expected, worst); !same) return same << " (qk_matmul_output)";
  }
  return testing::AssertionSuccess();
}

TEST(OnnxAttentionTest, ServerReproducesVectorsAtHand) {
  const auto directories = VectorDirectories(ATTND_SOURCE_DIR "/../shared/conformance/onnx", "ATTND_CONFORMANCE_DIRS");
  if (directories.empty()) {
    std::cout << "conformance: vectors not at hand; set ATTND_CONFORMANCE_DIRS to directories that hold them\n";
    return;
  }
  const RunningServer server;
  const auto client = Client::Connect({.address = server.address()});
  ASSERT_THAT(client, IsOk());
  int cases = 0;
  int passed = 0;
  Worst worst;
  for (const std::string& directory : directories) {
    const auto files = SafetensorsIn(directory);
    EXPECT_FALSE(files.empty()) << directory << " holds no .safetensors file";
    for (const std::string& path : files) {
      const auto verdict = Passes(path, **client, &worst);
      EXPECT_TRUE(verdict) << path;
      ++cases;
      passed += verdict ? 1 : 0;
    }
  }
  std::cout << "conformance: " << passed << " of " << cases << " cases, worst error";
  for (const auto& [dtype, error] : worst) {
    std::cout << " " << error << " (" << DataTypeName(dtype) << ", allowed " << Allowed(dtype) << ")";
  }
  std::cout << "\n";
}

}  // namespace
}  // namespace attnd
