// What the server counts, in the exposition format of Prometheus.
#ifndef ATTND_SERVER_METRICS_H_
#define ATTND_SERVER_METRICS_H_

#include <grpcpp/support/status.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/linear/weight_store.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd {

inline constexpr size_t kGrpcCodes = 17;

// RED of one method.
struct MethodMetrics {
  prometheus::Counter* started = nullptr;
  // By status code.
  std::array<prometheus::Counter*, kGrpcCodes> handled{};
  prometheus::Histogram* seconds = nullptr;
};

// Labels of attnd_build_info.
struct BuildInfo {
  std::string version;
  std::string isa;
  std::string onednn_version;
  std::string engine;
  std::string numerics_id;
};

// Thread-safe. Every series exists from the start, so that rates are right from the first
// event on.
class Metrics {
 public:
  // All but `build` are asked at every scrape and must outlive the metrics.
  Metrics(const BuildInfo& build, const Executor* executor, const BufferPool* pool, const WeightStore* weights);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Of "/package.Service/Method". What no contract names is counted as one method,
  // service and method "unknown".
  const MethodMetrics& Method(std::string_view path) const;

  // All series as text.
  [[nodiscard]] std::string Scrape() const;

  // Attend's phases: attnd_phase_seconds.
  prometheus::Histogram* queue_seconds;
  prometheus::Histogram* gather_seconds;
  prometheus::Histogram* compute_seconds;
  prometheus::Histogram* send_seconds;
  // Attend's messages and work.
  prometheus::Histogram* request_bytes;
  prometheus::Histogram* response_bytes;
  prometheus::Counter* empty_rows;
  prometheus::Counter* non_finite_rows;

 private:
  void AddMethods();

  prometheus::Registry registry_;
  // So that looking a path up needs no string of its own.
  struct PathHash {
    using is_transparent = void;
    size_t operator()(std::string_view path) const { return std::hash<std::string_view>()(path); }
  };
  std::unordered_map<std::string, MethodMetrics, PathHash, std::equal_to<>> methods_;
  MethodMetrics unknown_;
  std::unique_ptr<prometheus::Collectable> executor_;
  std::unique_ptr<prometheus::Collectable> weights_;
  std::unique_ptr<prometheus::Collectable> process_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_METRICS_H_
