// attnd_wire: what the service adds to the kernel, beside services that add nothing else.
//
// Server and client have a CPU each. All services of a row take turns, and a ratio is the
// median over the turns of the ratios within a turn.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "core/runtime/lock_tuning.h"
#include "core/runtime/malloc_tuning.h"
#include "tests/bench/peers.h"
#include "tests/bench/wire/child.h"
#include "tests/bench/wire/steps.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {
namespace {

constexpr int kUsage = 2;
constexpr int kClientCpu = 0;

struct Flags {
  std::string json;
  std::string filter;
  int rounds = 9;
  bool peers = false;
};

void Print(const Line& line) {
  std::printf("%-20s %-30s %9.2f %8.2f %-6s  %s\n", line.name.c_str(), line.measure.c_str(), line.value, line.target,
              line.target == 0 ? ""
              : line.met       ? "met"
                               : "missed",
              line.parts.c_str());
  std::fflush(stdout);
}

bool WriteJson(const std::string& path, const std::vector<Line>& lines) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Line& line : lines) {
    rows.push_back({{"name", line.name},
                    {"measure", line.measure},
                    {"value", line.value},
                    {"target", line.target},
                    {"met", line.met},
                    {"parts", line.parts}});
  }
  std::ofstream file(path);
  file << nlohmann::json{{"rows", rows}}.dump(2) << "\n";
  return static_cast<bool>(file.flush());
}

// PyTorch behind Python's gRPC, in the environment of the other peers.
std::unique_ptr<GrpcService> StartTorchService() {
  const char* python = std::getenv("ATTND_PEERS_PYTHON");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  const char* proto = std::getenv("ATTND_PEERS_PROTO");    // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (python == nullptr || proto == nullptr) return nullptr;
  return GrpcService::Start({python, ATTND_TORCH_SERVICE, proto}, "echo ready ");
}

int Run(const Flags& flags) {
  const std::regex pattern(flags.filter);
  Peers peers;
  if (flags.peers) peers = StartPeers("");
  const Spinners spinners;
  PinThisThread(kClientCpu);
  Bench bench;
  bench.rounds = flags.rounds;
  bench.attnd = StartAttnd();
  bench.echo = StartEcho();
  bench.tcp = TcpService::Start();
  if (bench.attnd == nullptr || bench.echo == nullptr || bench.tcp == nullptr) {
    std::cerr << "attnd_wire: a server does not start; it needs CPUs 0 and 1\n";
    return 1;
  }
  if (flags.peers) {
    bench.torch_service = StartTorchService();
    if (bench.torch_service == nullptr) std::printf("PyTorch behind Python's gRPC does not start\n");
    for (const auto& peer : peers.started) {
      if (peer->name() == "torch") bench.torch = peer.get();
    }
  }
  std::printf("%-20s %-30s %9s %8s\n", "request", "measure", "value", "target");
  std::vector<Line> all;
  for (const Step& step : StepsOf(bench)) {
    if (!std::regex_search(step.name, pattern)) continue;
    std::vector<Line> lines;
    step.run(lines);
    std::for_each(lines.begin(), lines.end(), Print);
    all.insert(all.end(), lines.begin(), lines.end());
  }
  if (flags.json.empty() || WriteJson(flags.json, all)) return 0;
  std::cerr << "attnd_wire: cannot write " << flags.json << "\n";
  return 1;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Measures what the service adds to the kernel.", "attnd_wire");
  app.add_option("--json", flags.json, "also write the results to this file");
  app.add_option("--filter", flags.filter, "only requests whose name matches this regular expression");
  app.add_option("--rounds", flags.rounds, "turns of each service; default 9")->check(CLI::Range(1, 1000));
  app.add_flag("--peers", flags.peers, "also measure PyTorch, in a process and behind Python's gRPC");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  return Run(flags);
}

}  // namespace
}  // namespace attnd::bench

int main(int argc, char** argv) {
  attnd::TuneMalloc();
  attnd::TuneLocks();
  try {
    return attnd::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attnd_wire: %s\n", error.what());
    return 1;
  }
}
