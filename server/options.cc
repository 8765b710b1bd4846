#include "server/options.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/attention/engine.h"
#include "core/linear/linear_engine.h"
#include "server/address.h"

namespace attnd {
namespace {

absl::Status InvalidFlag(const char* flag, std::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", std::string(problem)));
}

template <typename Number>
absl::Status CheckRange(const char* flag, Number value, Number least, Number most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return InvalidFlag(flag, absl::StrCat(value, " is out of range; it must be ", least, " to ", most));
}

absl::Status CheckAddress(const char* flag, const std::string& text, bool insecure) {
  const absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok()) return InvalidFlag(flag, std::string(address.status().message()));
  const absl::StatusOr<bool> local = IsLocal(*address);
  if (!local.ok()) return InvalidFlag(flag, std::string(local.status().message()));
  if (*local || insecure) return absl::OkStatus();
  return InvalidFlag(flag, absl::StrCat("other machines can reach ", text,
                                        ", in plain text and without authentication; if that is "
                                        "what you want, add --insecure"));
}

}  // namespace

absl::Status ServerOptions::Validate() const {
  constexpr int64_t kLargestMessage = (int64_t{1} << 31) - 1;
  constexpr int64_t kMany = int64_t{1} << 50;
  if (listen.empty()) return InvalidFlag("--listen", "at least one address is needed");
  for (const std::string& address : listen) {
    if (absl::Status status = CheckAddress("--listen", address, insecure); !status.ok()) return status;
  }
  if (http_enabled()) {
    if (http.starts_with("unix:")) return InvalidFlag("--http", "must be HOST:PORT, or off");
    if (absl::Status status = CheckAddress("--http", http, insecure); !status.ok()) return status;
  }
  if (const auto engine = ParseEngine(attention_engine); !engine.ok()) {
    return InvalidFlag("--attention-engine", std::string(engine.status().message()));
  }
  if (const auto engine = ParseLinearEngine(linear_engine); !engine.ok()) {
    return InvalidFlag("--linear-engine", std::string(engine.status().message()));
  }
  for (const absl::Status& status : {
           CheckRange("--workers", workers, 1, 4096),
           CheckRange<int64_t>("--max-request-bytes", max_request_bytes, 1024, kLargestMessage),
           CheckRange<int64_t>("--max-response-bytes", max_response_bytes, 1 << 20, kLargestMessage),
           CheckRange<int64_t>("--max-head-dim", max_head_dim, 1, 1 << 16),
           CheckRange<int64_t>("--max-queue-requests", max_queue_requests, 1, 1 << 20),
           CheckRange<int64_t>("--max-queue-bytes", max_queue_bytes, 1 << 20, kMany),
           CheckRange("--max-queue-seconds", max_queue_seconds, 0.001, 1e6),
           CheckRange("--max-concurrent-streams", max_concurrent_streams, 1, 1 << 20),
           CheckRange<int64_t>("--weights-budget", weights_budget, 1024, kMany),
           CheckRange<int64_t>("--upload-idle", upload_idle.count(), 1, 1'000'000'000),
           CheckRange<int64_t>("--slow-request-ms", slow_request.count(), 0, 1'000'000'000),
       }) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace attnd
