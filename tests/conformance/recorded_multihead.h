// Multi-head attention from files: tensors named as the request's fields and as the weights'
// roles, options as metadata, and what a call makes of them.
#ifndef ATTND_TESTS_CONFORMANCE_RECORDED_MULTIHEAD_H_
#define ATTND_TESTS_CONFORMANCE_RECORDED_MULTIHEAD_H_

#include <grpcpp/support/status.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attnd/v1/attention.pb.h"
#include "attnd/v1/weights.grpc.pb.h"
#include "core/linear/safetensors.h"

namespace attnd {

// As the wire has it. F32, F16, BF16 or BOOL.
absl::StatusOr<v1::Tensor> ToProto(const StoredTensor& tensor);

// Sets the tensor of that role, such as "w_query" or "block.w_up".
absl::Status SetRole(std::string_view role, const StoredTensor& tensor, v1::ProjectionWeights* weights);

// A float32 result as a file has it.
struct ExpectedResult {
  std::vector<int64_t> shape;
  std::vector<double> values;
  // The largest |value|, or 1.
  double scale = 1;
};

struct RecordedMultiHead {
  // With inline weights; asks for weights.
  v1::MultiHeadAttendRequest request;
  ExpectedResult output;
  ExpectedResult weights;
};

// Reads a file as tests/conformance/torch_multihead/README.md describes it. Fails, saying
// why, if it is broken or has something that is not described there.
absl::StatusOr<RecordedMultiHead> ReadRecordedMultiHead(const std::string& path);

// The content id of weights, as the contract defines it.
absl::StatusOr<std::string> IdOf(const v1::ProjectionWeights& weights);

// Uploads weights in chunks of at most `chunk_bytes`.
grpc::Status Register(v1::WeightsService::Stub& service, const v1::ProjectionWeights& weights, const std::string& id,
                      size_t chunk_bytes, v1::RegisterWeightsResponse* response);

}  // namespace attnd

#endif  // ATTND_TESTS_CONFORMANCE_RECORDED_MULTIHEAD_H_
