#include "tests/bench/wire/steps.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

#include "core/attention/engine.h"
#include "tests/bench/measure.h"
#include "tests/bench/runs.h"

namespace attnd::bench {
namespace {

constexpr double kMib = 1 << 20;
constexpr double kTorchSeconds = 0.02;

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  const int n = std::snprintf(text, sizeof(text), format, args...);
  return {text, static_cast<size_t>(n)};
}

double SecondsOf(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Median over the rounds of each figure that `round` returns.
std::vector<double> MedianOf(int rounds, const std::function<std::vector<double>()>& round) {
  std::vector<std::vector<double>> columns;
  for (int i = 0; i < rounds; ++i) {
    const std::vector<double> figures = round();
    columns.resize(figures.size());
    for (size_t c = 0; c < figures.size(); ++c) columns[c].push_back(figures[c]);
  }
  std::vector<double> medians;
  for (auto& column : columns) medians.push_back(Median(std::move(column)));
  return medians;
}

// A kernel run in this process, as often as makes its median steady.
double KernelSeconds(const std::function<void()>& kernel, int64_t calls) {
  std::vector<double> seconds;
  for (int64_t i = 0; i < calls; ++i) seconds.push_back(SecondsOf(kernel));
  return Median(std::move(seconds));
}

Row RowOf(const std::string& name, const Dims& dims) {
  Row row;
  row.name = name;
  row.dims = dims;
  return row;
}

// Calls that take about a tenth of a second.
int64_t CallsFor(const Dims& dims) {
  const double bytes = 16.0 * static_cast<double>(dims.batch * dims.heads * dims.q_len * dims.head_dim);
  const double pairs = static_cast<double>(dims.batch * dims.heads * dims.q_len) * static_cast<double>(dims.kv_len);
  const double seconds = 2e-4 + bytes * 1e-9 + pairs * static_cast<double>(dims.head_dim) * 4 / 6e10;
  return std::clamp<int64_t>(static_cast<int64_t>(0.1 / seconds), 3, 400);
}

// One call at a time against the TCP echo plus the kernel; the cost over the gRPC echo plus
// the kernel where `over_echo`.
void Latency(Bench& bench, const std::string& name, const Dims& dims, double target, bool over_echo,
             std::vector<Line>& lines) {
  const grpc::ByteBuffer message = RequestOf(dims);
  KernelRun kernel(RowOf(name, dims), ParseEngine("auto").value());
  kernel.TouchOutput();
  const int64_t calls = CallsFor(dims);
  for (Service* service : {static_cast<Service*>(bench.attnd.get()), static_cast<Service*>(bench.echo.get()),
                           static_cast<Service*>(bench.tcp.get())}) {
    service->Run(message, 1, calls);
  }
  const auto m = MedianOf(bench.rounds, [&]() -> std::vector<double> {
    const Calls tcp = bench.tcp->Run(message, 1, calls);
    const double compute = KernelSeconds([&] { kernel(); }, calls);
    const Calls ours = bench.attnd->Run(message, 1, calls);
    const Calls echo = bench.echo->Run(message, 1, calls);
    return {ours.p50 / (tcp.p50 + compute),
            ours.p50,
            tcp.p50,
            echo.p50,
            compute,
            ours.cpu,
            echo.cpu,
            ours.faults,
            ours.p50 - echo.p50 - compute,
            ours.cpu - echo.cpu - compute};
  });
  const std::string parts = Format("p50 %.0f us = TCP %.0f, gRPC echo %.0f, kernel %.0f; CPU %.0f, echo %.0f us",
                                   1e6 * m[1], 1e6 * m[2], 1e6 * m[3], 1e6 * m[4], 1e6 * m[5], 1e6 * m[6]);
  if (target > 0) lines.push_back({name, "p50 over TCP+kernel", m[0], target, m[0] <= target, parts});
  if (over_echo) {
    lines.push_back({name, "p50 - gRPC echo - kernel, us", 1e6 * m[8], 15, m[8] <= 15e-6, parts});
    lines.push_back({name, "CPU - gRPC echo - kernel, us", 1e6 * m[9], 30, m[9] <= 30e-6, parts});
  }
  lines.push_back({name, "page faults per call", m[7], 0.5, m[7] <= 0.5, parts});
}

// One call at a time over the same attention in a process without a service: PyTorch's where it
// is there, which is what the targets are of, and this kernel's.
void OverProcess(Bench& bench, const std::string& name, const Dims& dims, double target, std::vector<Line>& lines) {
  const grpc::ByteBuffer message = RequestOf(dims);
  const Row row = RowOf(name, dims);
  KernelRun kernel(row, ParseEngine("auto").value());
  kernel.TouchOutput();
  const int64_t calls = CallsFor(dims);
  bench.attnd->Run(message, 1, calls);
  const bool with_torch = bench.torch != nullptr && bench.torch->Open(row);
  const auto m = MedianOf(bench.rounds, [&]() -> std::vector<double> {
    const double compute = KernelSeconds([&] { kernel(); }, calls);
    const double torch = with_torch ? bench.torch->Turn(kTorchSeconds) : 0;
    const Calls ours = bench.attnd->Run(message, 1, calls);
    const Calls theirs = bench.torch_service ? bench.torch_service->Run(message, 1, calls) : Calls();
    return {ours.p50 / compute, ours.p50 / torch, ours.p50, compute, torch, theirs.p50, theirs.p50 / torch};
  });
  std::string parts = Format("p50 %.0f us, kernel %.1f us", 1e6 * m[2], 1e6 * m[3]);
  lines.push_back({name, "p50 over its kernel", m[0], 0, true, parts});
  if (!with_torch) return;
  parts = Format("PyTorch in process %.1f us", 1e6 * m[4]);
  if (bench.torch_service) parts += Format("; behind Python's gRPC %.0f us = %.1f times", 1e6 * m[5], m[6]);
  lines.push_back({name, "p50 over PyTorch in process", m[1], target, m[1] <= target, parts});
}

void Throughput(Bench& bench, const std::string& name, int in_flight, double least_rate, std::vector<Line>& lines) {
  constexpr int64_t kCalls = 4000;
  const grpc::ByteBuffer message = RequestOf({1, 1, 1, 16, 16, 64, 64});
  bench.attnd->Run(message, in_flight, kCalls);
  bench.echo->Run(message, in_flight, kCalls);
  const auto m = MedianOf(bench.rounds, [&]() -> std::vector<double> {
    const Calls ours = bench.attnd->Run(message, in_flight, kCalls);
    const Calls echo = bench.echo->Run(message, in_flight, kCalls);
    return {ours.per_second / echo.per_second, ours.per_second, echo.per_second, ours.cpu, echo.cpu};
  });
  const std::string parts = Format("%.0f/s, echo %.0f/s; CPU %.0f, echo %.0f us", m[1], m[2], 1e6 * m[3], 1e6 * m[4]);
  lines.push_back({name, "throughput over gRPC echo", m[0], 0.85, m[0] >= 0.85, parts});
  if (least_rate > 0) lines.push_back({name, "calls per second", m[1], least_rate, m[1] >= least_rate, parts});
}

void AfterIdle(Bench& bench, std::vector<Line>& lines) {
  const grpc::ByteBuffer message = RequestOf({1, 1, 1, 16, 16, 64, 64});
  double worst = 0;
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::seconds(3));
    worst = std::max(worst, bench.attnd->Run(message, 1, 1).p50);
  }
  lines.push_back({"small", "first call after 3 idle s, ms", 1e3 * worst, 5, worst < 5e-3, "worst of 3"});
}

// A new server, so that nothing but this request has grown it.
void PeakMemory(const std::string& name, const Dims& dims, std::vector<Line>& lines) {
  const grpc::ByteBuffer message = RequestOf(dims);
  const auto service = StartAttnd();
  if (service == nullptr) return;
  const auto base = static_cast<double>(service->child().ResidentBytes());
  service->Run(message, 1, 3);
  const auto peak = static_cast<double>(service->child().PeakBytes());
  const double in = static_cast<double>(message.Length());
  const double limit = (2 * in + in / 3) / kMib + 64;
  lines.push_back({name, "peak RSS, MiB", peak / kMib, limit, peak / kMib <= limit,
                   Format("%.0f MiB before the first request", base / kMib)});
}

}  // namespace

std::unique_ptr<GrpcService> StartAttnd() {
  return GrpcService::Start({ATTND_BINARY, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "1"},
                            " grpc=");
}

std::unique_ptr<GrpcService> StartEcho() { return GrpcService::Start({ATTND_ECHO_BINARY, "grpc"}, "echo ready "); }

std::vector<Step> StepsOf(Bench& bench) {
  const auto latency = [&bench](const char* name, const Dims& dims, double target, bool over_echo) {
    return Step{name, [=, &bench](auto& lines) { Latency(bench, name, dims, target, over_echo, lines); }};
  };
  const auto over_process = [&bench](const char* name, const Dims& dims, double target) {
    return Step{name, [=, &bench](auto& lines) { OverProcess(bench, name, dims, target, lines); }};
  };
  const Dims mib48 = {4096, 1, 1, 16, 16, 64, 64};
  return {
      latency("small", {1, 1, 1, 16, 16, 64, 64}, 0, true),
      latency("768 KiB", {64, 1, 1, 16, 16, 64, 64}, 2.4, false),
      latency("6 MiB", {512, 1, 1, 16, 16, 64, 64}, 1.4, false),
      latency("48 MiB", mib48, 1.15, false),
      over_process("[1,16,64]", {1, 1, 1, 16, 16, 64, 64}, 30),
      over_process("[8,128,64]", {1, 8, 8, 128, 128, 64, 64}, 2.5),
      over_process("[8,1024,64]", {1, 8, 8, 1024, 1024, 64, 64}, 1.2),
      {"small, 8 in flight", [&bench](auto& lines) { Throughput(bench, "small, 8 in flight", 8, 0, lines); }},
      {"small, 64 in flight", [&bench](auto& lines) { Throughput(bench, "small, 64 in flight", 64, 15e3, lines); }},
      {"idle", [&bench](auto& lines) { AfterIdle(bench, lines); }},
      {"memory 48 MiB", [mib48](auto& lines) { PeakMemory("48 MiB", mib48, lines); }},
  };
}

}  // namespace attnd::bench
