// What a server's /metrics say, to know what a run took of it.
#ifndef ATTND_CLIENT_LOAD_SERVER_METRICS_H_
#define ATTND_CLIENT_LOAD_SERVER_METRICS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/run_result.h"

namespace attnd::load {

// Counters since the server's start; resident_bytes are of now.
using ServerCounters = ServerUse;

// Reads the text format of Prometheus: process_cpu_seconds_total,
// process_resident_memory_bytes and, of the methods of AttentionService,
// grpc_server_handled_total. kInvalidArgument if the first of them is missing.
absl::StatusOr<ServerCounters> ParseServerMetrics(const std::string& text);

// Gets http://ADDRESS/metrics of each and adds them up. Waits a few seconds at most.
// kUnavailable "no metrics at ADDRESS (...)". Thread-safe.
absl::StatusOr<ServerCounters> ScrapeServers(const std::vector<std::string>& addresses);

// From `before` to `after`.
ServerUse UseBetween(const ServerCounters& before, const ServerCounters& after);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_SERVER_METRICS_H_
