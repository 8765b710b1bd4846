// Everything that can be configured: as flags, as environment variables (ATTND_ and the
// flag's name in capitals) and as keys of a configuration file, in this order of precedence.
#ifndef ATTND_SERVER_OPTIONS_H_
#define ATTND_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/runtime/cpu_count.h"
#include "server/logging.h"

namespace attnd {

struct ServerOptions {
  // Addresses for gRPC: HOST:PORT (port 0: any), [IPV6]:PORT or unix:PATH.
  std::vector<std::string> listen = {"127.0.0.1:50051"};
  // Address for /metrics, /healthz and /readyz; empty or "off" for none.
  std::string http = "127.0.0.1:9464";
  // Allows plain text where other machines can reach it.
  bool insecure = false;
  // Written once serving, removed when draining begins; none if empty.
  std::string ready_file;

  // Compute threads. More than CPUs only adds switching.
  int workers = AvailableCpus();
  std::string attention_engine = "auto";
  // Who multiplies with weights. Of the process: the first server's.
  std::string linear_engine = "auto";

  // Bytes. Raising these lets single requests take more memory.
  int64_t max_request_bytes = int64_t{256} << 20;
  int64_t max_response_bytes = int64_t{1} << 30;
  // Elements.
  int64_t max_head_dim = 4096;

  // Bounds on admitted work: raising them trades refusals for waiting and memory.
  int64_t max_queue_requests = 256;
  int64_t max_queue_bytes = int64_t{4} << 30;
  double max_queue_seconds = 60;
  // Per connection. gRPC buffers whole messages before admission sees them, so this times
  // max_request_bytes is what a connection can hold.
  int max_concurrent_streams = 128;

  // Files or folders of weights to register at the start: PATH, or NAME=PATH to call the
  // model NAME.
  std::vector<std::string> weights;
  // Preset, or a JSON file, that says which tensor is which.
  std::string weights_mapping = "auto";
  // Of registered weights, packed; uploads in progress may hold as much again. Raising it
  // keeps more of them, and larger ones.
  int64_t weights_budget = int64_t{4} << 30;
  // Uploads that make no progress for so long are ended.
  std::chrono::milliseconds upload_idle{60'000};

  // From not being ready until refusing: time for load balancers to notice.
  std::chrono::milliseconds lame_duck{500};
  // Time for admitted requests to finish; the rest is cancelled.
  std::chrono::milliseconds drain_timeout{30'000};
  // Without attention requests for so long, freed memory goes back to the system; 0 for never.
  std::chrono::milliseconds idle_trim{60'000};

  // Requests that take longer are logged with a breakdown; 0 for none.
  std::chrono::milliseconds slow_request{1000};
  LogOptions log;

  [[nodiscard]] bool http_enabled() const { return !http.empty() && http != "off"; }

  // kInvalidArgument naming the flag, if the options make no sense together or alone.
  [[nodiscard]] absl::Status Validate() const;
};

}  // namespace attnd

#endif  // ATTND_SERVER_OPTIONS_H_
