#include "server/status.h"

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "proto/codec.h"
#include "server/text.h"

namespace attnd {
namespace {

// Percent-encoded and beside the same text in the details, it still fits the 8 KiB that
// gRPC clients accept as trailers.
constexpr size_t kLongestMessage = 1000;

absl::Status Bounded(const absl::Status& status) {
  std::string message = Printable(std::string(status.message()), kLongestMessage);
  if (message.empty()) message = CodeName(static_cast<grpc::StatusCode>(status.raw_code()));
  absl::Status bounded(status.code(), message);
  status.ForEachPayload([&bounded](auto url, const absl::Cord& payload) { bounded.SetPayload(url, payload); });
  return bounded;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const absl::Status bounded = Bounded(status);
  return {static_cast<grpc::StatusCode>(bounded.code()), std::string(bounded.message()),
          codec::EncodeErrorDetails(bounded)};
}

std::optional<std::string> PushbackOf(const absl::Status& status) {
  const auto retry_after = RetryAfterOf(status);
  if (!retry_after.has_value()) return std::nullopt;
  return absl::StrCat(retry_after->count());
}

const char* CodeName(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return "OK";
    case grpc::StatusCode::CANCELLED:
      return "Canceled";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "InvalidArgument";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DeadlineExceeded";
    case grpc::StatusCode::NOT_FOUND:
      return "NotFound";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "AlreadyExists";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PermissionDenied";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "ResourceExhausted";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FailedPrecondition";
    case grpc::StatusCode::ABORTED:
      return "Aborted";
    case grpc::StatusCode::OUT_OF_RANGE:
      return "OutOfRange";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "Unimplemented";
    case grpc::StatusCode::INTERNAL:
      return "Internal";
    case grpc::StatusCode::UNAVAILABLE:
      return "Unavailable";
    case grpc::StatusCode::DATA_LOSS:
      return "DataLoss";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "Unauthenticated";
    default:
      return "Unknown";
  }
}

}  // namespace attnd
