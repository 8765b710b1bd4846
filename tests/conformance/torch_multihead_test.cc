#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>

#include "tests/conformance/recorded_multihead.h"
#include "tests/conformance/vector_files.h"
#include "tests/support/compare.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

// Largest error, in units of the largest |expected| (or 1). Expected results are exact but for
// their rounding to float32; PyTorch's own float32 results are within 4e-7 of them.
constexpr double kAllowed = 2e-6;

// Neither a divisor of a tensor nor a multiple of an element, so that chunks end anywhere.
constexpr size_t kChunkBytes = 333;

// The worst errors so far, in units of what they are compared with.
struct Worst {
  double output = 0;
  double weights = 0;
};

testing::AssertionResult Matches(const v1::Tensor& actual, const ExpectedResult& expected, double* worst) {
  const std::vector<int64_t> shape(actual.shape().begin(), actual.shape().end());
  if (actual.dtype() != v1::DATA_TYPE_FLOAT32 || shape != expected.shape) {
    return testing::AssertionFailure() << v1::DataType_Name(actual.dtype()) << " " << ShapeString(shape)
                                       << ", expected float32 " << ShapeString(expected.shape);
  }
  const std::vector<float> values = FloatsOf(actual);
  *worst = std::max(*worst, WorstError(values, expected.values) / expected.scale);
  return AlmostEqual(values, expected.values, kAllowed * expected.scale, shape);
}

class TorchMultiHeadTest : public ::testing::Test {
 protected:
  grpc::Status Call(const v1::MultiHeadAttendRequest& request, v1::MultiHeadAttendResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    return server_.attention().MultiHeadAttend(&context, request, response);
  }

  // As the file says, with weights that come with the request, and once more by their id.
  testing::AssertionResult Passes(const std::string& path) {
    const auto read = ReadRecordedMultiHead(path);
    if (!read.ok()) return testing::AssertionFailure() << "cannot be expressed: " << read.status();
    v1::MultiHeadAttendResponse response;
    if (const grpc::Status status = Call(read->request, &response); !status.ok()) {
      return testing::AssertionFailure() << status.error_message();
    }
    if (auto same = Matches(response.output(), read->output, &worst_.output); !same) return same << " (output)";
    if (auto same = Matches(response.weights(), read->weights, &worst_.weights); !same) return same << " (weights)";

    const auto id = IdOf(read->request.inline_());
    if (!id.ok()) return testing::AssertionFailure() << id.status();
    v1::RegisterWeightsResponse registered;
    if (const grpc::Status status = Register(*weights_, read->request.inline_(), *id, kChunkBytes, &registered);
        !status.ok() || registered.weights_id() != *id) {
      return testing::AssertionFailure() << "registering: " << status.error_message() << registered.weights_id();
    }
    v1::MultiHeadAttendRequest request = read->request;
    request.set_weights_id(*id);
    v1::MultiHeadAttendResponse by_id;
    if (const grpc::Status status = Call(request, &by_id); !status.ok()) {
      return testing::AssertionFailure() << "by id: " << status.error_message();
    }
    if (by_id.output().data() != response.output().data() || by_id.weights().data() != response.weights().data()) {
      return testing::AssertionFailure() << "other bits by id";
    }
    return testing::AssertionSuccess();
  }

  RunningServer server_;
  std::unique_ptr<v1::WeightsService::Stub> weights_ = v1::WeightsService::NewStub(server_.channel());
  Worst worst_;
};

TEST_F(TorchMultiHeadTest, ServerReproducesPyTorch) {
  const auto files = SafetensorsIn(ATTND_SOURCE_DIR "/tests/conformance/torch_multihead");
  EXPECT_FALSE(files.empty());
  int passed = 0;
  for (const std::string& path : files) {
    const auto verdict = Passes(path);
    EXPECT_TRUE(verdict) << path;
    passed += verdict ? 1 : 0;
  }
  std::cout << "conformance: torch: " << passed << " of " << files.size() << " cases, worst error " << worst_.output
            << " (output), " << worst_.weights << " (weights, allowed " << kAllowed << ")\n";
}

}  // namespace
}  // namespace attnd
