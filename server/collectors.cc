#include "server/collectors.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace attnd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

MetricFamily Gauge(const char* name, const char* help, double value) {
  MetricFamily family = Family(name, help, MetricType::Gauge);
  family.metric.emplace_back().gauge.value = value;
  return family;
}

MetricFamily Counter(const char* name, const char* help, double value) {
  MetricFamily family = Family(name, help, MetricType::Counter);
  family.metric.emplace_back().counter.value = value;
  return family;
}

class ExecutorCollector final : public prometheus::Collectable {
 public:
  ExecutorCollector(const Executor* executor, const BufferPool* pool) : executor_(executor), pool_(pool) {}

  [[nodiscard]] std::vector<MetricFamily> Collect() const override;

 private:
  const Executor* const executor_;
  const BufferPool* const pool_;
};

MetricFamily PoolBytes(const BufferPool& pool) {
  MetricFamily family =
      Family("attnd_pool_bytes", "Tensor memory in use, and free for the next request.", MetricType::Gauge);
  const auto add = [&family](const char* state, size_t bytes) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label.push_back({"state", state});
    metric.gauge.value = static_cast<double>(bytes);
  };
  add("used", pool.used_bytes());
  add("free", pool.free_bytes());
  return family;
}

std::vector<MetricFamily> ExecutorCollector::Collect() const {
  const ExecutorStats stats = executor_->Stats();
  return {
      Gauge("attnd_workers", "Compute threads.", stats.workers),
      Gauge("attnd_queue_jobs", "Requests admitted and not done.", static_cast<double>(stats.jobs)),
      Gauge("attnd_queue_waiting", "Requests admitted that no worker has taken.", static_cast<double>(stats.waiting)),
      Gauge("attnd_queue_oldest_wait_seconds", "Age of the longest-waiting request that no worker has taken.",
            Seconds(stats.oldest_wait)),
      Gauge("attnd_queue_predicted_seconds", "Predicted compute time of one worker for all admitted requests.",
            stats.predicted_seconds),
      Gauge("attnd_inflight_bytes", "Memory accounted to admitted requests.", static_cast<double>(stats.bytes)),
      Counter("attnd_worker_busy_seconds_total", "Time spent computing, summed over workers.", stats.busy_seconds),
      Counter("attnd_flops_total", "Work done, in floating-point operations; padding and memory traffic included.",
              stats.flops_done),
      Counter("attnd_tiles_total", "Units of work done.", static_cast<double>(stats.tiles_done)),
      Gauge("attnd_worker_flops_per_second", "Measured speed of one worker.", stats.worker_flops_per_second),
      PoolBytes(*pool_),
  };
}

class WeightsCollector final : public prometheus::Collectable {
 public:
  explicit WeightsCollector(const WeightStore* weights) : weights_(weights) {}

  [[nodiscard]] std::vector<MetricFamily> Collect() const override {
    const WeightStoreStats stats = weights_->Stats();
    return {
        Gauge("attnd_weights_resident_bytes", "Memory of registered weights, deleted ones in use included.",
              static_cast<double>(stats.resident_bytes)),
        Gauge("attnd_weights_sets", "Sets of weights registered.", static_cast<double>(stats.sets)),
        Counter("attnd_weights_evictions_total", "Sets of weights dropped to make room for others.",
                static_cast<double>(stats.evictions)),
    };
  }

 private:
  const WeightStore* const weights_;
};

// Fields of /proc/self/stat by their numbers in proc(5), from 3 on: the name before them
// may hold spaces.
std::vector<std::string> ProcessStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream rest(line.substr(name_end + 1));
  return {std::istream_iterator<std::string>(rest), {}};
}

std::optional<double> Field(const std::vector<std::string>& stat, size_t number) {
  const size_t index = number - 3;
  if (index >= stat.size()) return std::nullopt;
  double value = 0;
  return std::istringstream(stat[index]) >> value ? std::optional(value) : std::nullopt;
}

// Seconds since the epoch at which the machine started.
std::optional<double> BootTime() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double value = 0;
    if (word == "btime" && file >> value) return value;
  }
  return std::nullopt;
}

std::optional<double> OpenFiles() {
  std::error_code error;
  std::filesystem::directory_iterator it("/proc/self/fd", error);
  double count = 0;
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) ++count;
  return error ? std::nullopt : std::optional(count);
}

class ProcessCollector final : public prometheus::Collectable {
 public:
  ProcessCollector() {
    const auto ticks = Field(ProcessStat(), 22);
    const auto boot = BootTime();
    if (ticks.has_value() && boot.has_value()) start_time_ = *boot + *ticks / ticks_per_second_;
  }

  [[nodiscard]] std::vector<MetricFamily> Collect() const override;

 private:
  const double ticks_per_second_ = static_cast<double>(sysconf(_SC_CLK_TCK));
  std::optional<double> start_time_;
};

std::vector<MetricFamily> ProcessCollector::Collect() const {
  const std::vector<std::string> stat = ProcessStat();
  std::vector<MetricFamily> families;
  const auto gauge = [&families](const char* name, const char* help, std::optional<double> value) {
    if (value.has_value()) families.push_back(Gauge(name, help, *value));
  };
  gauge("process_start_time_seconds", "Start time of the process since the epoch.", start_time_);
  gauge("process_virtual_memory_bytes", "Virtual memory size.", Field(stat, 23));
  if (const auto pages = Field(stat, 24)) {
    gauge("process_resident_memory_bytes", "Resident memory size.",
          *pages * static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  const auto user = Field(stat, 14);
  const auto system = Field(stat, 15);
  if (user.has_value() && system.has_value()) {
    families.push_back(
        Counter("process_cpu_seconds_total", "User and system CPU time.", (*user + *system) / ticks_per_second_));
  }
  gauge("process_open_fds", "Open file descriptors.", OpenFiles());
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    gauge("process_max_fds", "Most file descriptors the process may open.", static_cast<double>(limit.rlim_cur));
  }
  return families;
}

}  // namespace

std::unique_ptr<prometheus::Collectable> NewExecutorCollector(const Executor* executor, const BufferPool* pool) {
  return std::make_unique<ExecutorCollector>(executor, pool);
}

std::unique_ptr<prometheus::Collectable> NewWeightsCollector(const WeightStore* weights) {
  return std::make_unique<WeightsCollector>(weights);
}

std::unique_ptr<prometheus::Collectable> NewProcessCollector() { return std::make_unique<ProcessCollector>(); }

}  // namespace attnd
