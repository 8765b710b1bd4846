// Status details.
#include "core/errors.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "proto/codec.h"

namespace attnd::codec {

std::string EncodeErrorDetails(const absl::Status& status) {
  const auto field = FieldOf(status);
  const auto retry_after = RetryAfterOf(status);
  if (!field && !retry_after) return {};

  const std::string message(status.message());
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(message);
  if (field) {
    google::rpc::BadRequest details;
    auto& violation = *details.add_field_violations();
    violation.set_field(*field);
    const std::string prefix = *field + ": ";
    violation.set_description(message.starts_with(prefix) ? message.substr(prefix.size()) : message);
    wire.add_details()->PackFrom(details);
  }
  if (retry_after) {
    google::rpc::RetryInfo details;
    const auto millis = retry_after->count();
    details.mutable_retry_delay()->set_seconds(millis / 1000);
    details.mutable_retry_delay()->set_nanos(static_cast<int32_t>(millis % 1000) * 1'000'000);
    wire.add_details()->PackFrom(details);
  }
  return wire.SerializeAsString();
}

}  // namespace attnd::codec
