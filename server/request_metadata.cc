#include "server/request_metadata.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "server/text.h"

namespace attnd {
namespace {

constexpr char kPriorityKey[] = "attnd-priority";
constexpr char kTenantKey[] = "attnd-tenant";
constexpr char kTraceKey[] = "traceparent";

std::optional<std::string> Find(const grpc::ServerContext& context, const char* key) {
  const auto it = context.client_metadata().find(key);
  if (it == context.client_metadata().end()) return std::nullopt;
  return std::string(it->second.data(), it->second.size());
}

std::optional<Time> DeadlineOf(const grpc::ServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<Duration>(deadline - std::chrono::system_clock::now());
}

}  // namespace

absl::StatusOr<RequestMetadata> ReadMetadata(const grpc::ServerContext& context) {
  RequestMetadata metadata;
  if (const auto text = Find(context, kPriorityKey)) {
    int32_t priority = 0;
    if (!absl::SimpleAtoi(*text, &priority)) {
      return InvalidField(kPriorityKey, absl::StrCat("is \"", Printable(*text, 40), "\"; it must be a 32-bit integer"));
    }
    metadata.priority = priority;
  }
  metadata.tenant = Find(context, kTenantKey).value_or("");
  metadata.trace_id = TraceIdOf(Find(context, kTraceKey).value_or(""));
  metadata.deadline = DeadlineOf(context);
  return metadata;
}

// "00-<32 hex digits>-<16 hex digits>-<2 hex digits>".
std::string TraceIdOf(std::string_view traceparent) {
  constexpr size_t kBegin = 3;
  constexpr size_t kDigits = 32;
  constexpr size_t kShortest = 55;
  const bool separated =
      traceparent.size() >= kShortest && traceparent[kBegin - 1] == '-' && traceparent[kBegin + kDigits] == '-';
  if (!separated) return "";
  const std::string_view id = traceparent.substr(kBegin, kDigits);
  const bool hex =
      std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  return hex ? std::string(id) : "";
}

}  // namespace attnd
