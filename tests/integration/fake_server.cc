#include "tests/integration/fake_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace attnd {
namespace {

namespace health = grpc::health::v1;

double Dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

// In place; returns the log of the sum of exponentials.
double Softmax(std::vector<double>* row) {
  const double largest = *std::max_element(row->begin(), row->end());
  double sum = 0;
  for (double& x : *row) sum += (x = std::exp(x - largest));
  for (double& x : *row) x /= sum;
  return largest + std::log(sum);
}

}  // namespace

class FakeServer::Attention : public v1::AttentionService::Service {
 public:
  explicit Attention(AttendHandler handler) : handler_(std::move(handler)) {}
  grpc::Status Attend(grpc::ServerContext* context, const v1::AttendRequest* request,
                      v1::AttendResponse* response) override {
    return handler_(context, *request, response);
  }

 private:
  const AttendHandler handler_;
};

class FakeServer::Info : public v1::ServerService::Service {
 public:
  explicit Info(v1::GetInfoResponse info) : info_(std::move(info)) {}
  grpc::Status GetInfo(grpc::ServerContext* /*context*/, const v1::GetInfoRequest* /*request*/,
                       v1::GetInfoResponse* response) override {
    *response = info_;
    return grpc::Status::OK;
  }

 private:
  const v1::GetInfoResponse info_;
};

class FakeServer::Health : public health::Health::Service {
 public:
  explicit Health(health::HealthCheckResponse::ServingStatus status) : status_(status) {}
  grpc::Status Check(grpc::ServerContext* /*context*/, const health::HealthCheckRequest* request,
                     health::HealthCheckResponse* response) override {
    if (!request->service().empty() && request->service() != "attnd.v1.AttentionService") {
      return {grpc::StatusCode::NOT_FOUND, "unknown service " + request->service()};
    }
    response->set_status(status_);
    return grpc::Status::OK;
  }

 private:
  const health::HealthCheckResponse::ServingStatus status_;
};

FakeServer::FakeServer(Options options)
    : options_(std::move(options)),
      attention_(std::make_unique<Attention>(options_.attend)),
      info_(std::make_unique<Info>(options_.info)),
      health_(std::make_unique<Health>(options_.health)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(options_.port), grpc::InsecureServerCredentials(), &port_);
  builder.SetMaxReceiveMessageSize(options_.max_receive_bytes);
  builder.RegisterService(attention_.get());
  builder.RegisterService(info_.get());
  builder.RegisterService(health_.get());
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

grpc::Status FakeServer::ComputeAttention(grpc::ServerContext* /*context*/, const v1::AttendRequest& request,
                                          v1::AttendResponse* response) {
  const auto query = ValuesOf(request.query());
  const auto key = ValuesOf(request.key());
  const auto value = ValuesOf(request.value());
  const auto q_len = static_cast<size_t>(request.query().shape(0));
  const auto kv_len = static_cast<size_t>(request.key().shape(0));
  const auto head_dim = static_cast<size_t>(request.query().shape(1));
  const auto value_dim = static_cast<size_t>(request.value().shape(1));
  const double scale =
      request.options().has_scale() ? double{request.options().scale()} : 1 / std::sqrt(static_cast<double>(head_dim));
  std::vector<float> output;
  std::vector<float> lse;
  std::vector<float> weights;
  for (size_t i = 0; i < q_len; ++i) {
    std::vector<double> row(kv_len);
    for (size_t j = 0; j < kv_len; ++j) row[j] = scale * Dot(&query[i * head_dim], &key[j * head_dim], head_dim);
    lse.push_back(static_cast<float>(Softmax(&row)));
    weights.insert(weights.end(), row.begin(), row.end());
    for (size_t d = 0; d < value_dim; ++d) {
      double sum = 0;
      for (size_t j = 0; j < kv_len; ++j) sum += row[j] * double{value[j * value_dim + d]};
      output.push_back(static_cast<float>(sum));
    }
  }
  const auto rows = static_cast<int64_t>(q_len);
  const auto keys = static_cast<int64_t>(kv_len);
  *response->mutable_output() = MakeTensor({rows, request.value().shape(1)}, output);
  if (request.outputs().has_lse()) *response->mutable_lse() = MakeTensor({1, 1, rows}, lse);
  if (request.outputs().has_weights()) *response->mutable_weights() = MakeTensor({1, 1, rows, keys}, weights);
  response->mutable_timings()->set_compute_seconds(0.0025);
  response->mutable_counts()->set_tiles(1);
  response->set_numerics_id("fake");
  return grpc::Status::OK;
}

v1::Tensor MakeTensor(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  v1::Tensor tensor;
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.mutable_shape()->Assign(shape.begin(), shape.end());
  tensor.mutable_data()->resize(values.size() * sizeof(float));
  std::memcpy(tensor.mutable_data()->data(), values.data(), tensor.data().size());
  return tensor;
}

std::vector<float> ValuesOf(const v1::Tensor& tensor) {
  std::vector<float> values(tensor.data().size() / sizeof(float));
  std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
  return values;
}

// Bound for as long as the process lives, so that no other test's server gets it.
std::string UnusedAddress() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

}  // namespace attnd
