#include "client/client.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/address.h"
#include "client/unary_caller.h"
#include "grpc/health/v1/health.pb.h"

namespace attnd {
namespace {

namespace health = grpc::health::v1;

absl::Status CheckOptions(const ClientOptions& options) {
  if (auto status = CheckAddress(options.address); !status.ok()) return status;
  if (options.timeout.count() < 0) return absl::InvalidArgumentError("timeout: negative; 0 means no bound");
  if (options.retry.max_attempts < 1) return absl::InvalidArgumentError("retry.max_attempts: less than 1");
  if (options.retry.initial_backoff.count() < 0 || options.retry.max_backoff.count() < 0) {
    return absl::InvalidArgumentError("retry: a backoff is negative");
  }
  return absl::OkStatus();
}

std::span<const std::byte> BytesOf(const codec::Chunk& chunk) {
  if (const auto* text = std::get_if<std::string>(&chunk)) return std::as_bytes(std::span(*text));
  return std::get<std::span<const std::byte>>(chunk);
}

absl::StatusOr<grpc::ByteBuffer> CopyToSlices(const std::vector<codec::Chunk>& message) {
  constexpr size_t kMaxBytes = std::numeric_limits<int32_t>::max();
  size_t total = 0;
  for (const codec::Chunk& chunk : message) total += BytesOf(chunk).size();
  if (total > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("request: ", total, " bytes; a message holds at most ", kMaxBytes));
  }
  std::vector<grpc::Slice> slices;
  for (const codec::Chunk& chunk : message) {
    const auto bytes = BytesOf(chunk);
    if (!bytes.empty()) slices.emplace_back(bytes.data(), bytes.size());
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::StatusOr<std::vector<grpc::Slice>> SlicesOf(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return absl::InternalError("the answer cannot be read");
  return slices;
}

std::vector<std::string_view> PiecesOf(const std::vector<grpc::Slice>& slices) {
  std::vector<std::string_view> pieces;
  pieces.reserve(slices.size());
  for (const grpc::Slice& slice : slices) {
    pieces.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return pieces;
}

template <typename Message>
grpc::ByteBuffer Serialize(const Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

// Bytes that are no `Message` come from something that is no attnd.
template <typename Message>
absl::StatusOr<Message> Parse(const grpc::ByteBuffer& bytes) {
  grpc::Slice slice;
  Message message;
  if (!bytes.DumpToSingleSlice(&slice).ok() ||
      slice.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) ||
      !message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    return absl::InternalError(absl::StrCat("the answer is no ", message.GetTypeName()));
  }
  return message;
}

}  // namespace

Client::Client(const ClientOptions& options)
    : caller_(std::make_unique<UnaryCaller>(options)), max_attempts_(options.retry.max_attempts) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  if (auto status = CheckOptions(options); !status.ok()) return status;
  return std::unique_ptr<Client>(new Client(options));
}

absl::StatusOr<codec::AttendReply> Client::Attend(const AttentionRequest& request, const CallOptions& call) {
  const auto message = CopyToSlices(codec::EncodeAttendRequest(request));
  if (!message.ok()) return message.status();
  const auto reply = caller_->Call("/attnd.v1.AttentionService/Attend", *message, call, max_attempts_);
  if (!reply.ok()) return reply.status();
  const auto slices = SlicesOf(*reply);
  if (!slices.ok()) return slices.status();
  return codec::DecodeAttendResponse(PiecesOf(*slices));
}

absl::StatusOr<codec::MergeReply> Client::Merge(const MergeInputs& inputs, const CallOptions& call) {
  const auto message = CopyToSlices(codec::EncodeMergeRequest(inputs));
  if (!message.ok()) return message.status();
  const auto reply = caller_->Call("/attnd.v1.AttentionService/Merge", *message, call, max_attempts_);
  if (!reply.ok()) return reply.status();
  const auto slices = SlicesOf(*reply);
  if (!slices.ok()) return slices.status();
  return codec::DecodeMergeResponse(PiecesOf(*slices));
}

absl::StatusOr<v1::GetInfoResponse> Client::GetInfo(const CallOptions& call) {
  const auto reply =
      caller_->Call("/attnd.v1.ServerService/GetInfo", Serialize(v1::GetInfoRequest()), call, max_attempts_);
  if (!reply.ok()) return reply.status();
  return Parse<v1::GetInfoResponse>(*reply);
}

absl::StatusOr<ServingStatus> Client::CheckHealth(const std::string& service, const CallOptions& call) {
  health::HealthCheckRequest request;
  request.set_service(service);
  const auto reply = caller_->Call("/grpc.health.v1.Health/Check", Serialize(request), call, /*max_attempts=*/1);
  if (!reply.ok()) return reply.status();
  const auto response = Parse<health::HealthCheckResponse>(*reply);
  if (!response.ok()) return response.status();
  switch (response->status()) {
    case health::HealthCheckResponse::SERVING:
      return ServingStatus::kServing;
    case health::HealthCheckResponse::NOT_SERVING:
      return ServingStatus::kNotServing;
    default:
      return ServingStatus::kUnknown;
  }
}

}  // namespace attnd
