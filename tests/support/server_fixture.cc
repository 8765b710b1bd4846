#include "tests/support/server_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <thread>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "tests/support/sanitizers.h"

namespace attnd {
namespace {

constexpr std::chrono::milliseconds kLookInterval{2};

v1::Tensor* SetTensor(v1::Tensor* tensor, const TensorView& view) {
  for (const int64_t extent : view.shape) tensor->add_shape(extent);
  tensor->mutable_data()->resize(view.bytes.size());
  view.bytes.CopyTo(reinterpret_cast<std::byte*>(tensor->mutable_data()->data()));
  return tensor;
}

v1::Alignment ToProto(Alignment alignment) {
  switch (alignment) {
    case Alignment::kUnset:
      return v1::ALIGNMENT_UNSPECIFIED;
    case Alignment::kTopLeft:
      return v1::ALIGNMENT_TOP_LEFT;
    case Alignment::kBottomRight:
      return v1::ALIGNMENT_BOTTOM_RIGHT;
    case Alignment::kOffset:
      return v1::ALIGNMENT_OFFSET;
  }
  return v1::ALIGNMENT_UNSPECIFIED;
}

}  // namespace

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kLookInterval);
  }
  return true;
}

std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

ServerOptions TestOptions() {
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  options.http = "127.0.0.1:0";
  options.workers = 2;
  options.lame_duck = std::chrono::milliseconds(0);
  options.drain_timeout = kPatience;
  // Sanitizers are so slow that a single long request is predicted to take more than the usual limit.
  if (kSanitized) options.max_queue_seconds = 3600;
  return options;
}

RunningServer::RunningServer(const ServerOptions& options) {
  EXPECT_TRUE(options.Validate().ok()) << options.Validate();
  auto server = Server::Start(options);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();  // nothing of the test makes sense without a server
  }
  server_ = *std::move(server);
  channel_ = ConnectTo(address());
  attention_ = v1::AttentionService::NewStub(channel_);
  info_ = v1::ServerService::NewStub(channel_);
  health_ = grpc::health::v1::Health::NewStub(channel_);
}

v1::AttendRequest ToProto(const AttentionProblem& problem) {
  const AttentionRequest request = problem.Request();
  v1::AttendRequest proto;
  SetTensor(proto.mutable_query(), request.query);
  SetTensor(proto.mutable_key(), request.key);
  SetTensor(proto.mutable_value(), request.value);
  if (request.layout == Layout::kTokensFirst) proto.set_layout(v1::LAYOUT_TOKENS_FIRST);
  v1::AttentionOptions* options = proto.mutable_options();
  if (request.options.scale.has_value()) options->set_scale(*request.options.scale);
  options->set_causal(request.options.causal);
  options->set_alignment(ToProto(request.options.alignment));
  for (const int64_t offset : request.options.q_offset) options->add_q_offset(offset);
  for (const int64_t offset : request.options.k_offset) options->add_k_offset(offset);
  if (request.outputs.lse) proto.mutable_outputs()->mutable_lse();
  if (request.outputs.weights) proto.mutable_outputs()->mutable_weights();
  return proto;
}

v1::AttendRequest SquareRequest(int64_t len) {
  v1::AttendRequest request;
  for (v1::Tensor* tensor : {request.mutable_query(), request.mutable_key(), request.mutable_value()}) {
    tensor->add_shape(len);
    tensor->add_shape(64);
    tensor->mutable_data()->assign(static_cast<size_t>(len) * 64 * sizeof(float), '\0');
  }
  return request;
}

v1::AttendRequest SmallRequest() {
  ProblemSpec spec;
  spec.dims = {1, 2, 1, 5, 7, 8, 8};
  return ToProto(AttentionProblem(spec));
}

std::vector<float> FloatsOf(const v1::Tensor& tensor) {
  if (tensor.values_size() > 0) return {tensor.values().begin(), tensor.values().end()};
  std::vector<float> floats(tensor.data().size() / sizeof(float));
  std::memcpy(floats.data(), tensor.data().data(), floats.size() * sizeof(float));
  return floats;
}

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

std::string BadFieldOf(const grpc::Status& status) {
  const google::rpc::Status details = DetailsOf(status);
  for (const auto& detail : details.details()) {
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&bad) && bad.field_violations_size() > 0) return bad.field_violations(0).field();
  }
  return "";
}

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const std::string& bytes) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> status;
  stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                 [&status](grpc::Status result) { status.set_value(std::move(result)); });
  return status.get_future().get();
}

AttendCalls::AttendCalls(const std::shared_ptr<grpc::Channel>& channel)
    : stub_(v1::AttentionService::NewStub(channel)), poller_(&AttendCalls::Poll, this) {}

AttendCalls::~AttendCalls() {
  for (Call& call : calls_) call.context.TryCancel();
  AwaitAll();
  queue_.Shutdown();
  poller_.join();
}

AttendCalls::Call& AttendCalls::Start(const v1::AttendRequest& request,
                                      const std::function<void(grpc::ClientContext&)>& prepare) {
  Call& call = calls_.emplace_back();
  prepare(call.context);
  call.reader = stub_->AsyncAttend(&call.context, request, &queue_);
  call.reader->Finish(&call.response, &call.status, &call);
  return call;
}

void AttendCalls::AwaitAll() {
  if (Eventually([this] { return done_ == calls_.size(); })) return;
  ADD_FAILURE() << "a call has no answer";
  std::abort();  // its memory is still in use
}

void AttendCalls::Poll() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) ++done_;
}

}  // namespace attnd
