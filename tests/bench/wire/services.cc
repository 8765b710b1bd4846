#include "tests/bench/wire/services.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <utility>

#include "proto/codec.h"
#include "tests/bench/case.h"
#include "tests/bench/measure.h"
#include "tests/bench/wire/tcp.h"

namespace attnd::bench {
namespace {

constexpr int kServerCpu = 1;

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "attnd_wire: %s\n", what);
  std::exit(1);  // NOLINT(concurrency-mt-unsafe): nothing else is under way
}

// What `run` took, which tells the latencies to its argument.
Calls Watch(const Child& child, int64_t calls, const std::function<void(const std::function<void(double)>&)>& run) {
  std::vector<double> latencies;
  latencies.reserve(static_cast<size_t>(calls));
  const double cpu = child.CpuSeconds();
  const int64_t faults = child.MinorFaults();
  const double begin = Now();
  run([&latencies](double seconds) { latencies.push_back(seconds); });
  const double seconds = Now() - begin;
  const auto count = static_cast<double>(calls);
  return {Median(std::move(latencies)), count / seconds, (child.CpuSeconds() - cpu) / count,
          static_cast<double>(child.MinorFaults() - faults) / count};
}

}  // namespace

std::unique_ptr<GrpcService> GrpcService::Start(std::vector<std::string> arguments, const std::string& mark) {
  auto child = Child::Start(std::move(arguments), kServerCpu);
  if (child == nullptr) return nullptr;
  const size_t at = child->first_line().find(mark);
  if (at == std::string::npos) return nullptr;
  const std::string rest = child->first_line().substr(at + mark.size());
  std::unique_ptr<GrpcService> service(new GrpcService(std::move(child)));
  service->client_.emplace(rest.substr(0, rest.find(' ')));
  return service;
}

Calls GrpcService::Run(const grpc::ByteBuffer& message, int in_flight, int64_t calls) {
  return Watch(*child_, calls, [&](const auto& latency) {
    if (client_->Run(message, in_flight, calls, latency) != 0) Fail("a call failed");
  });
}

std::unique_ptr<TcpService> TcpService::Start() {
  auto child = Child::Start({ATTND_ECHO_BINARY, "tcp"}, kServerCpu);
  if (child == nullptr) return nullptr;
  const int fd = ConnectLoopback(std::atoi(child->first_line().substr(child->first_line().rfind(':') + 1).c_str()));
  return fd < 0 ? nullptr : std::unique_ptr<TcpService>(new TcpService(std::move(child), fd));
}

TcpService::~TcpService() { close(fd_); }

Calls TcpService::Run(const grpc::ByteBuffer& message, int /*in_flight*/, int64_t calls) {
  grpc::Slice request;
  if (!message.DumpToSingleSlice(&request).ok()) Fail("the request cannot be read");
  const uint64_t size = request.size();
  std::vector<char> reply(size / kReplyPart);
  return Watch(*child_, calls, [&](const auto& latency) {
    for (int64_t i = 0; i < calls; ++i) {
      const double begin = Now();
      if (!WriteAll(fd_, &size, sizeof(size)) || !WriteAll(fd_, request.begin(), size) ||
          !ReadAll(fd_, reply.data(), reply.size())) {
        Fail("the TCP echo is gone");
      }
      latency(Now() - begin);
    }
  });
}

grpc::ByteBuffer RequestOf(const Dims& dims) {
  Row row;
  row.name = "wire";
  row.dims = dims;
  std::vector<grpc::Slice> slices;
  const PlannedRequest planned = PlanRow(row);
  for (const codec::Chunk& chunk : codec::EncodeAttendRequest(planned.request)) {
    if (const auto* text = std::get_if<std::string>(&chunk)) {
      slices.emplace_back(*text);
    } else {
      const auto bytes = std::get<std::span<const std::byte>>(chunk);
      slices.emplace_back(bytes.data(), bytes.size());
    }
  }
  return {slices.data(), slices.size()};
}

}  // namespace attnd::bench
