#include "client/load/server_metrics.h"

#include <civetweb.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace attnd::load {
namespace {

constexpr int kPatienceMilliseconds = 5000;
// More than any server has to say.
constexpr size_t kLargestPage = size_t{16} << 20;

// A line "name{labels} value"; nothing for comments and what is none.
struct Sample {
  std::string_view name;
  std::string_view labels;
  double value = 0;
};

bool ReadSample(std::string_view line, Sample* sample) {
  if (line.empty() || line.front() == '#') return false;
  const size_t name_end = line.find_first_of("{ ");
  if (name_end == std::string_view::npos) return false;
  sample->name = line.substr(0, name_end);
  sample->labels = {};
  size_t rest = name_end;
  if (line[name_end] == '{') {
    const size_t end = line.rfind('}');
    if (end == std::string_view::npos) return false;
    sample->labels = line.substr(name_end, end - name_end + 1);
    rest = end + 1;
  }
  // A time may follow.
  const std::vector<std::string> words = absl::StrSplit(std::string(line.substr(rest)), ' ', absl::SkipEmpty());
  return !words.empty() && absl::SimpleAtod(words.front(), &sample->value);
}

struct Close {
  void operator()(mg_connection* connection) const { mg_close_connection(connection); }
};

absl::Status NoMetrics(const std::string& address, std::string_view reason) {
  return absl::UnavailableError(absl::StrCat("no metrics at ", address, " (", std::string(reason), ")"));
}

absl::StatusOr<std::string> GetMetrics(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port)) {
    return NoMetrics(address, "not HOST:PORT");
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  std::array<char, 256> error = {};
  const std::unique_ptr<mg_connection, Close> connection(
      mg_connect_client(host.c_str(), port, /*use_ssl=*/0, error.data(), error.size()));
  if (connection == nullptr) return NoMetrics(address, error.data());
  mg_printf(connection.get(), "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", address.c_str());
  if (mg_get_response(connection.get(), error.data(), error.size(), kPatienceMilliseconds) < 0) {
    return NoMetrics(address, error.data());
  }
  const mg_response_info* info = mg_get_response_info(connection.get());
  if (info == nullptr || info->status_code != 200) {
    return NoMetrics(address, absl::StrCat("HTTP status ", info == nullptr ? 0 : info->status_code));
  }
  std::string page;
  std::array<char, 16384> part = {};
  for (int n = 0; (n = mg_read(connection.get(), part.data(), part.size())) > 0;) {
    page.append(part.data(), static_cast<size_t>(n));
    if (page.size() > kLargestPage) return NoMetrics(address, "endless");
  }
  return page;
}

}  // namespace

absl::StatusOr<ServerCounters> ParseServerMetrics(const std::string& text) {
  ServerCounters counters;
  bool has_cpu = false;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    Sample sample;
    if (!ReadSample(line, &sample)) continue;
    if (sample.name == "process_cpu_seconds_total") {
      counters.cpu_seconds = sample.value;
      has_cpu = true;
    } else if (sample.name == "process_resident_memory_bytes") {
      counters.resident_bytes = sample.value;
    } else if (sample.name == "grpc_server_handled_total" &&
               sample.labels.find("grpc_service=\"attnd.v1.AttentionService\"") != std::string_view::npos) {
      counters.handled += sample.value;
      if (sample.labels.find("grpc_code=\"ResourceExhausted\"") != std::string_view::npos) {
        counters.refused += sample.value;
      }
    }
  }
  if (!has_cpu) return absl::InvalidArgumentError("no process_cpu_seconds_total: these are no metrics of attnd");
  return counters;
}

absl::StatusOr<ServerCounters> ScrapeServers(const std::vector<std::string>& addresses) {
  ServerCounters sum;
  for (const std::string& address : addresses) {
    const auto page = GetMetrics(address);
    if (!page.ok()) return page.status();
    const auto counters = ParseServerMetrics(*page);
    if (!counters.ok()) return NoMetrics(address, std::string(counters.status().message()));
    sum.cpu_seconds += counters->cpu_seconds;
    sum.handled += counters->handled;
    sum.refused += counters->refused;
    sum.resident_bytes += counters->resident_bytes;
  }
  return sum;
}

ServerUse UseBetween(const ServerCounters& before, const ServerCounters& after) {
  // A server that was restarted counts from 0 again.
  const auto difference = [](double from, double to) { return std::max(0.0, to - from); };
  return {.cpu_seconds = difference(before.cpu_seconds, after.cpu_seconds),
          .handled = difference(before.handled, after.handled),
          .refused = difference(before.refused, after.refused),
          .resident_bytes = after.resident_bytes};
}

}  // namespace attnd::load
