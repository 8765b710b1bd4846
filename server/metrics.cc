#include "server/metrics.h"

#include <google/protobuf/descriptor.h>
#include <prometheus/text_serializer.h>

#include <iterator>
#include <sstream>
#include <utility>
#include <vector>

#include "server/collectors.h"
#include "server/status.h"

namespace attnd {
namespace {

using prometheus::Histogram;

// The buckets of gRFC A66.
Histogram::BucketBoundaries SecondsBuckets() {
  return {1e-5, 5e-5, 1e-4, 3e-4, 6e-4, 8e-4, .001, .002, .003, .004, .005, .006, .008, .01,
          .013, .016, .02,  .025, .03,  .04,  .05,  .065, .08,  .1,   .13,  .16,  .2,   .25,
          .3,   .4,   .5,   .65,  .8,   1,    2,    5,    10,   20,   50,   100};
}
Histogram::BucketBoundaries BytesBuckets() {
  return {1024,      2048,       4096,       16384,       65536,        262144,      1048576.0,
          4194304.0, 16777216.0, 67108864.0, 268435456.0, 1073741824.0, 4294967296.0};
}

constexpr const char* kServices[] = {"attnd.v1.AttentionService", "attnd.v1.WeightsService", "attnd.v1.ServerService",
                                     "grpc.health.v1.Health"};

const char* TypeOf(const google::protobuf::MethodDescriptor& method) {
  if (method.client_streaming()) return method.server_streaming() ? "bidi_stream" : "client_stream";
  return method.server_streaming() ? "server_stream" : "unary";
}

prometheus::Histogram* AddHistogram(prometheus::Registry& registry, const char* name, const char* help,
                                    const Histogram::BucketBoundaries& buckets) {
  return &prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

prometheus::Counter* AddCounter(prometheus::Registry& registry, const char* name, const char* help) {
  return &prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

void Append(std::vector<prometheus::MetricFamily> from, std::vector<prometheus::MetricFamily>& to) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

Metrics::Metrics(const BuildInfo& build, const Executor* executor, const BufferPool* pool, const WeightStore* weights)
    : executor_(NewExecutorCollector(executor, pool)),
      weights_(NewWeightsCollector(weights)),
      process_(NewProcessCollector()) {
  AddMethods();
  prometheus::BuildGauge()
      .Name("attnd_build_info")
      .Help("1; the labels say what is running.")
      .Register(registry_)
      .Add({{"version", build.version},
            {"isa", build.isa},
            {"onednn_version", build.onednn_version},
            {"engine", build.engine},
            {"numerics_id", build.numerics_id}})
      .Set(1);
  auto& phases = prometheus::BuildHistogram()
                     .Name("attnd_phase_seconds")
                     .Help(
                         "Time of answered requests by phase: waiting for a worker, copying the tensors, computing, "
                         "sending the response. Counted once that is sent.")
                     .Register(registry_);
  queue_seconds = &phases.Add({{"phase", "queue"}}, SecondsBuckets());
  gather_seconds = &phases.Add({{"phase", "gather"}}, SecondsBuckets());
  compute_seconds = &phases.Add({{"phase", "compute"}}, SecondsBuckets());
  send_seconds = &phases.Add({{"phase", "send"}}, SecondsBuckets());
  request_bytes = AddHistogram(registry_, "attnd_request_bytes", "Size of Attend requests.", BytesBuckets());
  response_bytes = AddHistogram(registry_, "attnd_response_bytes", "Size of Attend responses.", BytesBuckets());
  empty_rows = AddCounter(registry_, "attnd_empty_rows_total", "Rows (batch, head, query) that had no visible key.");
  non_finite_rows = AddCounter(registry_, "attnd_non_finite_rows_total", "Rows whose output held NaN or Inf.");
}

Metrics::~Metrics() = default;

void Metrics::AddMethods() {
  auto& started = prometheus::BuildCounter()
                      .Name("grpc_server_started_total")
                      .Help("RPCs started on the server.")
                      .Register(registry_);
  auto& handled = prometheus::BuildCounter()
                      .Name("grpc_server_handled_total")
                      .Help("RPCs answered by the server, whatever the status.")
                      .Register(registry_);
  auto& seconds = prometheus::BuildHistogram()
                      .Name("grpc_server_handling_seconds")
                      .Help("Time from an RPC's arrival to the start of its answer.")
                      .Register(registry_);
  const auto add = [&](const std::string& type, const std::string& service, const std::string& method) {
    const prometheus::Labels labels = {{"grpc_type", type}, {"grpc_service", service}, {"grpc_method", method}};
    MethodMetrics metrics;
    metrics.started = &started.Add(labels);
    metrics.seconds = &seconds.Add(labels, SecondsBuckets());
    for (size_t code = 0; code < kGrpcCodes; ++code) {
      prometheus::Labels with_code = labels;
      with_code.emplace("grpc_code", CodeName(static_cast<grpc::StatusCode>(code)));
      metrics.handled[code] = &handled.Add(with_code);
    }
    return metrics;
  };
  for (const char* name : kServices) {
    const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) continue;
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      methods_.emplace("/" + service->full_name() + "/" + method->name(),
                       add(TypeOf(*method), service->full_name(), method->name()));
    }
  }
  unknown_ = add("unary", "unknown", "unknown");
}

const MethodMetrics& Metrics::Method(std::string_view path) const {
  const auto it = methods_.find(path);
  return it == methods_.end() ? unknown_ : it->second;
}

std::string Metrics::Scrape() const {
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  Append(executor_->Collect(), families);
  Append(weights_->Collect(), families);
  Append(process_->Collect(), families);
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return text.str();
}

}  // namespace attnd
