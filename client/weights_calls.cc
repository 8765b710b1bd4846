// Client's calls to WeightsService.
#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "client/messages.h"
#include "client/unary_caller.h"
#include "core/linear/weights_id.h"
#include "proto/codec_weights.h"

namespace attnd {
namespace {

constexpr char kService[] = "/attnd.v1.WeightsService/";
constexpr size_t kChunkBytes = size_t{1} << 20;
// Assumed of the slowest connections and disks.
constexpr int64_t kBytesPerSecond = int64_t{4} << 20;

// The messages of an upload, in order.
class UploadMessages {
 public:
  // All must outlive the messages.
  UploadMessages(const ProjectionWeights& weights, std::string_view id, std::string_view alias)
      : weights_(weights), id_(id), alias_(alias) {
    for (const WeightRoleInfo& info : WeightRoles()) {
      if (!weights.tensors[info.role].has_value()) continue;
      for (const auto piece : weights.tensors[info.role]->bytes.pieces()) pieces_.push_back({info.name, piece});
    }
  }

  std::optional<absl::StatusOr<grpc::ByteBuffer>> Next() {
    if (!std::exchange(header_sent_, true)) return CopyToSlices(codec::EncodeUploadHeader(weights_, id_, alias_));
    if (at_ == pieces_.size()) return std::nullopt;
    auto& [tensor, bytes] = pieces_[at_];
    const auto chunk = bytes.first(std::min(bytes.size(), kChunkBytes));
    bytes = bytes.subspan(chunk.size());
    if (bytes.empty()) ++at_;
    return CopyToSlices(codec::EncodeUploadChunk(tensor, Fragments(chunk)));
  }

 private:
  struct Piece {
    const char* tensor;
    std::span<const std::byte> bytes;
  };

  const ProjectionWeights& weights_;
  const std::string_view id_;
  const std::string_view alias_;
  bool header_sent_ = false;
  std::vector<Piece> pieces_;
  size_t at_ = 0;
};

int64_t BytesOf(const ProjectionWeights& weights) {
  int64_t bytes = 0;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (tensor.has_value()) bytes += static_cast<int64_t>(tensor->bytes.size());
  }
  return bytes;
}

template <typename Response>
absl::StatusOr<Response> ParseReply(const absl::StatusOr<grpc::ByteBuffer>& reply) {
  if (!reply.ok()) return reply.status();
  return Parse<Response>(*reply);
}

}  // namespace

absl::StatusOr<RegisteredWeights> Client::RegisterWeights(const ProjectionWeights& weights, std::string_view alias,
                                                          const CallOptions& call) {
  if (const auto shapes = CheckWeights(weights, "weights"); !shapes.ok()) return shapes.status();
  if (!alias.empty()) {
    if (absl::Status s = CheckAlias("alias", alias); !s.ok()) return s;
  }
  const auto id = WeightsId(weights);
  if (!id.ok()) return id.status();
  CallOptions patient = call;
  if (!call.timeout.has_value() && timeout_.count() > 0) {
    patient.timeout = timeout_ + std::chrono::seconds(BytesOf(weights) / kBytesPerSecond);
  }
  const auto begin = [&]() -> NextMessage {
    return [messages = UploadMessages(weights, *id, alias)]() mutable { return messages.Next(); };
  };
  const auto response = ParseReply<v1::RegisterWeightsResponse>(
      caller_->Upload(std::string(kService) + "RegisterWeights", begin, patient, max_attempts_));
  if (!response.ok()) return response.status();
  return RegisteredWeights{response->weights_id(), response->existed()};
}

absl::StatusOr<v1::ListWeightsResponse> Client::ListWeights(const CallOptions& call) {
  return ParseReply<v1::ListWeightsResponse>(
      caller_->Call(std::string(kService) + "ListWeights", Serialize(v1::ListWeightsRequest()), call, max_attempts_));
}

absl::StatusOr<v1::WeightsInfo> Client::DescribeWeights(const std::string& name, const CallOptions& call) {
  v1::DescribeWeightsRequest request;
  request.set_weights(name);
  auto response = ParseReply<v1::DescribeWeightsResponse>(
      caller_->Call(std::string(kService) + "DescribeWeights", Serialize(request), call, max_attempts_));
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_info());
}

absl::StatusOr<std::string> Client::DeleteWeights(const std::string& name, const CallOptions& call) {
  v1::DeleteWeightsRequest request;
  request.set_weights(name);
  const auto response = ParseReply<v1::DeleteWeightsResponse>(
      caller_->Call(std::string(kService) + "DeleteWeights", Serialize(request), call, max_attempts_));
  if (!response.ok()) return response.status();
  return response->weights_id();
}

absl::StatusOr<std::string> Client::SetWeightsAlias(const std::string& name, const std::string& alias,
                                                    const CallOptions& call) {
  v1::SetWeightsAliasRequest request;
  request.set_weights(name);
  request.set_alias(alias);
  const auto response = ParseReply<v1::SetWeightsAliasResponse>(
      caller_->Call(std::string(kService) + "SetWeightsAlias", Serialize(request), call, max_attempts_));
  if (!response.ok()) return response.status();
  return response->weights_id();
}

}  // namespace attnd
