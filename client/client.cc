#include "client/client.h"

#include <grpcpp/support/byte_buffer.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/address.h"
#include "client/messages.h"
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

// Calls a method of the AttentionService, and reads the reply.
template <typename Reply>
absl::StatusOr<Reply> Ask(UnaryCaller& caller, const char* method, const std::vector<codec::Chunk>& request,
                          const CallOptions& call, int max_attempts,
                          absl::StatusOr<Reply> (*decode)(codec::MessagePieces)) {
  const auto message = CopyToSlices(request);
  if (!message.ok()) return message.status();
  const auto reply = caller.Call(absl::StrCat("/attnd.v1.AttentionService/", method), *message, call, max_attempts);
  if (!reply.ok()) return reply.status();
  const auto slices = SlicesOf(*reply);
  if (!slices.ok()) return slices.status();
  return decode(PiecesOf(*slices));
}

}  // namespace

Client::Client(const ClientOptions& options)
    : caller_(std::make_unique<UnaryCaller>(options)),
      timeout_(options.timeout),
      max_attempts_(options.retry.max_attempts) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  if (auto status = CheckOptions(options); !status.ok()) return status;
  return std::unique_ptr<Client>(new Client(options));
}

absl::StatusOr<codec::AttendReply> Client::Attend(const AttentionRequest& request, const CallOptions& call) {
  const auto message = codec::EncodeAttendRequest(request);
  return Ask(*caller_, "Attend", message, call, max_attempts_, codec::DecodeAttendResponse);
}

absl::StatusOr<codec::MultiHeadReply> Client::MultiHeadAttend(const codec::MultiHeadCall& request,
                                                              const CallOptions& call) {
  const auto message = codec::EncodeMultiHeadRequest(request);
  return Ask(*caller_, "MultiHeadAttend", message, call, max_attempts_, codec::DecodeMultiHeadResponse);
}

absl::StatusOr<codec::MergeReply> Client::Merge(const MergeInputs& inputs, const CallOptions& call) {
  const auto message = codec::EncodeMergeRequest(inputs);
  return Ask(*caller_, "Merge", message, call, max_attempts_, codec::DecodeMergeResponse);
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
