#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/engine.h"
#include "core/linear/linear_engine.h"
#include "core/linear/weight_store.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/clock.h"
#include "core/runtime/executor.h"
#include "server/address.h"
#include "server/attend_rpc.h"
#include "server/completion_queue.h"
#include "server/health.h"
#include "server/health_rpc.h"
#include "server/http.h"
#include "server/idle_trimmer.h"
#include "server/info_rpc.h"
#include "server/logging.h"
#include "server/merge_rpc.h"
#include "server/metrics.h"
#include "server/multihead_rpc.h"
#include "server/preload.h"
#include "server/unserved_rpc.h"
#include "server/uploads.h"
#include "server/warm_up.h"
#include "server/weights_rpc.h"

namespace attnd {
namespace {

// Calls waiting for a client: more than arrive between two looks at the queue, as those
// beyond wait inside gRPC, where nobody sees their deadline.
constexpr int kAttendCallsWaiting = 64;
constexpr int kOtherCallsWaiting = 4;
// For what is not ours to finish, such as reflection streams and half-sent requests.
constexpr std::chrono::milliseconds kGraceForStrangers{250};
// Jobs that the poller runs itself: handing one to a worker costs 30 us of CPU and more than that
// of waiting.
constexpr double kRunHereSeconds = 50e-6;
// Of a response, beside its tensors.
constexpr int64_t kResponseOverhead = 4096;

// Tensor memory. Never destroyed: gRPC gives back the last blocks when it likes.
BufferPool* SharedPool() {
  static auto* pool = new BufferPool(BufferPool::Options());
  return pool;
}

Executor::Options ExecutorOptions(const ServerOptions& options, const TensorScope& scope) {
  Executor::Options result;
  result.bytes_elsewhere = [unsent = scope.unsent_bytes] { return unsent->load(); };
  result.workers = options.workers;
  result.max_jobs = options.max_queue_requests;
  result.max_bytes = options.max_queue_bytes;
  result.max_predicted_seconds = options.max_queue_seconds;
  result.run_here_seconds = kRunHereSeconds;
  return result;
}

BuildInfo BuildInfoOf(EngineKind engine) {
  return {ATTND_VERSION, KernelIsa(), OnednnVersion(), EngineName(engine), NumericsId(engine)};
}

v1::GetInfoResponse StaticInfo(const ServerOptions& options, const BuildInfo& build) {
  v1::GetInfoResponse info;
  info.set_version(build.version);
  info.set_isa(build.isa);
  info.set_onednn_version(build.onednn_version);
  for (const std::string& name : EngineNames()) {
    if (name != "auto") info.add_engines(name);
  }
  info.set_engine(build.engine);
  info.set_numerics_id(build.numerics_id);
  info.set_workers(options.workers);
  v1::Limits* limits = info.mutable_limits();
  limits->set_max_request_bytes(options.max_request_bytes);
  limits->set_max_response_bytes(options.max_response_bytes);
  limits->set_max_head_dim(options.max_head_dim);
  limits->set_max_queue_requests(options.max_queue_requests);
  limits->set_max_queue_bytes(options.max_queue_bytes);
  limits->set_max_queue_seconds(options.max_queue_seconds);
  for (const auto dtype : {v1::DATA_TYPE_FLOAT32, v1::DATA_TYPE_FLOAT16, v1::DATA_TYPE_BFLOAT16}) {
    info.add_data_types(dtype);
  }
  return info;
}

void SetChannelArguments(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_request_bytes));
  builder.SetMaxSendMessageSize(-1);
  // gRPC inflates a message before it looks at the limit: a megabyte can become a gigabyte.
  // Tensors hardly shrink anyway.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  // With the default a second server would share the port, and the requests, in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  // Reflection is the one synchronous service; one thread is plenty for it.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
  // Not back-pressure but a last line: at this much gRPC resets streams. Requests are twice
  // in memory for a moment, hence the factor.
  grpc::ResourceQuota quota("attnd");
  quota.Resize(2 * static_cast<size_t>(std::max(options.max_queue_bytes, options.max_request_bytes)));
  builder.SetResourceQuota(quota);
}

class ServerImpl final : public Server {
 public:
  explicit ServerImpl(const ServerOptions& options);
  ~ServerImpl() override;
  ServerImpl(const ServerImpl&) = delete;
  ServerImpl& operator=(const ServerImpl&) = delete;

  absl::Status StartServing();

  [[nodiscard]] const std::vector<std::string>& grpc_addresses() const override { return grpc_addresses_; }
  [[nodiscard]] const std::string& http_address() const override { return http_address_; }
  bool Drain() override;

 private:
  absl::Status Listen();
  absl::Status StartHttp();
  void LogBanner() const;
  void PostCalls();
  void Close(std::chrono::milliseconds grace);

  const ServerOptions options_;
  const EngineKind engine_;
  const BuildInfo build_;
  BufferPool* const pool_ = SharedPool();
  WeightStore weights_;
  Uploads uploads_;
  TensorScope tensor_scope_;
  Executor executor_;
  Metrics metrics_;
  CallCounter calls_;
  Health health_;

  AttentionRpcs attention_rpcs_;
  WeightsRpcs weights_rpcs_;
  v1::ServerService::AsyncService info_rpcs_;
  grpc::health::v1::Health::AsyncService health_rpcs_;
  grpc::AsyncGenericService generic_rpcs_;
  const CallScope call_scope_{&metrics_, &calls_};
  InfoScope info_scope_;
  const HealthScope health_scope_{call_scope_, &health_rpcs_, &health_};
  const WeightsScope weights_scope_{call_scope_, &weights_rpcs_, &weights_, &uploads_};
  const UnservedScope unserved_scope_{call_scope_, &generic_rpcs_};

  std::optional<CompletionQueues> queues_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<HttpServer> http_;
  std::optional<IdleTrimmer> trimmer_;
  std::vector<std::string> grpc_addresses_;
  std::string http_address_;
};

ServerImpl::ServerImpl(const ServerOptions& options)
    : options_(options),
      engine_(ParseEngine(options.attention_engine).value()),
      build_(BuildInfoOf(engine_)),
      weights_({.budget_bytes = options.weights_budget}, Clock::Real()),
      uploads_({.max_bytes = options.weights_budget, .idle = options.upload_idle}),
      executor_(ExecutorOptions(options, tensor_scope_), Clock::Real()),
      metrics_(build_, &executor_, pool_, &weights_) {
  tensor_scope_.call = call_scope_;
  tensor_scope_.rpcs = &attention_rpcs_;
  tensor_scope_.executor = &executor_;
  tensor_scope_.pool = pool_;
  tensor_scope_.weights = &weights_;
  tensor_scope_.engine = engine_;
  tensor_scope_.numerics_id = build_.numerics_id;
  tensor_scope_.limits = {options.max_head_dim, options.max_response_bytes - kResponseOverhead};
  tensor_scope_.slow_request = options.slow_request;
  info_scope_.call = call_scope_;
  info_scope_.rpcs = &info_rpcs_;
  info_scope_.executor = &executor_;
  info_scope_.started = std::chrono::steady_clock::now();
  info_scope_.info = StaticInfo(options, build_);
}

ServerImpl::~ServerImpl() {
  executor_.StopAdmission();
  uploads_.Stop();
  health_.SetServing(false);
  health_.EndWatches();
  Close(std::chrono::milliseconds(0));
}

absl::Status ServerImpl::StartServing() {
  SetLinearEngine(ParseLinearEngine(options_.linear_engine).value());
  if (absl::Status status = PreloadWeights(options_, weights_); !status.ok()) return status;
  if (absl::Status status = Listen(); !status.ok()) return status;
  if (absl::Status status = StartHttp(); !status.ok()) return status;
  LogBanner();
  if (absl::Status status = WarmUp(&executor_, pool_, engine_); !status.ok()) {
    return absl::InternalError(absl::StrCat("the first computation failed: ", std::string(status.message())));
  }
  if (options_.idle_trim.count() > 0) {
    trimmer_.emplace(options_.idle_trim, pool_, [this] { return executor_.Stats().tiles_done; });
  }
  health_.SetServing(true);
  Log(LogLevel::kInfo, "serving", {{"worker_flops_per_second", executor_.Stats().worker_flops_per_second}});
  return absl::OkStatus();
}

void ServerImpl::LogBanner() const {
  Log(LogLevel::kInfo, "attnd starts",
      {{"version", build_.version},
       {"isa", build_.isa},
       {"onednn", build_.onednn_version},
       {"engine", build_.engine},
       {"linear_engine", LinearEngineName(CurrentLinearEngine())},
       {"numerics_id", build_.numerics_id},
       {"workers", int64_t{options_.workers}},
       {"max_request_bytes", options_.max_request_bytes},
       {"max_response_bytes", options_.max_response_bytes},
       {"max_head_dim", options_.max_head_dim},
       {"max_queue_requests", options_.max_queue_requests},
       {"max_queue_bytes", options_.max_queue_bytes},
       {"max_queue_seconds", options_.max_queue_seconds},
       {"max_concurrent_streams", int64_t{options_.max_concurrent_streams}},
       {"weights_budget", options_.weights_budget}});
}

absl::Status ServerImpl::Listen() {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetChannelArguments(options_, builder);
  std::vector<Address> addresses;
  for (const std::string& text : options_.listen) {
    const absl::StatusOr<Address> address = ParseAddress(text);
    if (!address.ok()) return address.status();
    if (const absl::Status probe = ProbeBind(*address); !probe.ok()) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", text, ": ", std::string(probe.message())));
    }
    addresses.push_back(*address);
  }
  std::vector<int> ports(addresses.size(), 0);
  for (size_t i = 0; i < addresses.size(); ++i) {
    builder.AddListeningPort(addresses[i].ToString(), grpc::InsecureServerCredentials(), &ports[i]);
  }
  builder.RegisterService(&attention_rpcs_);
  builder.RegisterService(&weights_rpcs_);
  builder.RegisterService(&info_rpcs_);
  builder.RegisterService(&health_rpcs_);
  builder.RegisterAsyncGenericService(&generic_rpcs_);
  queues_.emplace(builder, QueuesFor(options_.workers));
  grpc_ = builder.BuildAndStart();
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (ports[i] == 0) return absl::UnavailableError(absl::StrCat("cannot listen on ", options_.listen[i]));
    if (!addresses[i].is_unix()) addresses[i].port = ports[i];
    grpc_addresses_.push_back(addresses[i].ToString());
  }
  if (grpc_ == nullptr) return absl::UnavailableError("gRPC did not start");
  PostCalls();
  queues_->Start();
  return absl::OkStatus();
}

void ServerImpl::PostCalls() {
  for (const auto& queue : queues_->queues()) {
    for (int i = 0; i < kAttendCallsWaiting; ++i) {
      PostAttend(tensor_scope_, queue.get());
      PostMultiHeadAttend(tensor_scope_, queue.get());
    }
    for (int i = 0; i < kOtherCallsWaiting; ++i) {
      PostMerge(tensor_scope_, queue.get());
      PostGetInfo(info_scope_, queue.get());
      PostHealthCheck(health_scope_, queue.get());
      PostHealthWatch(health_scope_, queue.get());
      PostUnserved(unserved_scope_, queue.get());
      PostWeightsCalls(weights_scope_, queue.get());
    }
  }
}

absl::Status ServerImpl::StartHttp() {
  if (!options_.http_enabled()) return absl::OkStatus();
  const absl::StatusOr<Address> address = ParseAddress(options_.http);
  if (!address.ok()) return address.status();
  HttpPages pages;
  pages.metrics = [this] { return metrics_.Scrape(); };
  pages.ready = [this] { return health_.serving(); };
  absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(*address, std::move(pages));
  if (!http.ok()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.http, " (--http): ", std::string(http.status().message())));
  }
  http_ = *std::move(http);
  http_address_ = http_->address().ToString();
  return absl::OkStatus();
}

bool ServerImpl::Drain() {
  health_.SetServing(false);
  Log(LogLevel::kInfo, "draining: not ready, still serving", {{"lame_duck_seconds", Seconds(options_.lame_duck)}});
  std::this_thread::sleep_for(options_.lame_duck);

  executor_.StopAdmission();
  uploads_.Stop();
  Log(LogLevel::kInfo, "draining: new requests are refused", {{"requests_left", executor_.Stats().jobs}});
  const Time deadline = std::chrono::steady_clock::now() + options_.drain_timeout;
  bool drained = executor_.AwaitIdle(deadline);
  health_.EndWatches();
  drained = calls_.AwaitNone(deadline) && drained;
  if (!drained) {
    Log(LogLevel::kError, "drain timed out: requests left are cancelled",
        {{"drain_timeout_seconds", Seconds(options_.drain_timeout)}, {"requests_left", executor_.Stats().jobs}});
  }
  Close(drained ? kGraceForStrangers : std::chrono::milliseconds(0));
  Log(LogLevel::kInfo, "stopped");
  return drained;
}

// In this order: no call is left when the queues are shut down, and nothing asks for what
// is being destroyed.
void ServerImpl::Close(std::chrono::milliseconds grace) {
  trimmer_.reset();
  if (grpc_ != nullptr) {
    grpc_->Shutdown(std::chrono::system_clock::now() + grace);
    // Calls that were cancelled still end, at the latest after a tile.
    calls_.AwaitNone(Time::max());
    queues_->Stop();
    grpc_.reset();
  }
  queues_.reset();
  http_.reset();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  auto server = std::make_unique<ServerImpl>(options);
  if (absl::Status status = server->StartServing(); !status.ok()) return status;
  return server;
}

}  // namespace attnd
