// attnd_bench: attention kernels as shares of what this machine can do.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <regex>
#include <string>
#include <vector>

#include "tests/bench/measure.h"
#include "tests/bench/peers.h"
#include "tests/bench/report.h"
#include "tests/bench/rows.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {
namespace {

constexpr int kUsage = 2;

struct Flags {
  std::string json;
  std::string filter;
  std::string isa;
  std::string engine = "auto";
  bool peers = false;
  bool budget = false;
  bool quick = false;
};

// oneDNN reads its limit once, before main in some builds: set it and start again.
void RestartWithOnednnLimit(char** argv) {
  constexpr const char* kNames[] = {"DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"};  // 2.x and 3.x
  const char* now = std::getenv(kNames[0]);  // NOLINT(concurrency-mt-unsafe): no other threads yet
  if (now != nullptr && std::string(now) == "AVX2") return;
  for (const char* name : kNames) setenv(name, "AVX2", /*overwrite=*/1);  // NOLINT(concurrency-mt-unsafe): same
  execv("/proc/self/exe", argv);
  std::cerr << "attnd_bench: cannot start again with " << kNames[0] << "=AVX2\n";
  std::exit(1);  // NOLINT(concurrency-mt-unsafe): same
}

std::vector<Row> Select(const std::string& filter) {
  const std::regex pattern(filter);
  std::vector<Row> rows;
  for (Row& row : AllRows()) {
    if (std::regex_search(row.name, pattern)) rows.push_back(std::move(row));
  }
  return rows;
}

int Run(const Flags& flags) {
  std::vector<Row> rows;
  try {
    rows = Select(flags.filter);
  } catch (const std::regex_error& error) {
    std::cerr << "attnd_bench: --filter " << flags.filter << ": " << error.what() << "\n";
    return kUsage;
  }
  if (rows.empty()) {
    std::cerr << "attnd_bench: no row matches --filter " << flags.filter << "; there are:\n";
    for (const Row& row : AllRows()) std::cerr << "  " << row.name << "\n";
    return kUsage;
  }

  MeasureOptions options;
  if (flags.quick) options = {.most_rounds = 5, .row_seconds = 0.5, .turn_seconds = 0.003};
  const auto engine = ParseEngine(flags.engine);
  if (!engine.ok()) {
    std::cerr << "attnd_bench: --engine: " << engine.status().message() << "\n";
    return kUsage;
  }
  options.engine = *engine;
  Report report;
  report.engine = options.engine;
  if (flags.peers) report.peers = StartPeers(flags.isa);
  if (!report.peers.missing.empty()) std::cout << report.peers.missing << "\n";
  const Spinners spinners;
  const ReadYardstick read(2);
  report.machine = MeasureMachine(read, options);
  std::cout << MachineLines(report) << "\n" << TableHead() << std::flush;
  for (const Row& row : rows) {
    report.rows.push_back(MeasureRow(row, read, report.peers, options));
    std::cout << TableLine(report.rows.back()) << std::flush;
    if (!flags.budget || !HasBudget(row)) continue;
    if (const auto budget = MeasureBudget(row, options)) report.budgets[row.name] = *budget;
  }
  if (!report.peers.started.empty()) std::cout << "\n" << PeerTable(report);
  if (flags.budget) std::cout << "\n" << BudgetTable(report);
  if (!flags.json.empty()) {
    std::ofstream file(flags.json);
    file << Json(report);
    if (!file.flush()) {
      std::cerr << "attnd_bench: cannot write " << flags.json << "\n";
      return 1;
    }
  }
  return 0;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Measures attention kernels as shares of this machine's peaks.");
  app.add_option("--json", flags.json, "also write the results to this file");
  app.add_option("--filter", flags.filter, "only rows whose name matches this regular expression");
  app.add_option("--isa", flags.isa, "limit the instruction set")->check(CLI::IsMember({"avx2", "avx512"}));
  app.add_option("--engine", flags.engine, "auto, or an engine by name");
  app.add_flag("--peers", flags.peers, "also measure PyTorch and ONNX Runtime, where python3 has them");
  app.add_flag("--budget", flags.budget, "also print where the kernel's cycles go, stage by stage");
  app.add_flag("--quick", flags.quick, "fewer and shorter turns");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (!LimitIsa(flags.isa)) {
    std::cerr << "attnd_bench: this machine has no " << flags.isa << "\n";
    return 1;
  }
  if (flags.isa == "avx2") RestartWithOnednnLimit(argv);
  return Run(flags);
}

}  // namespace
}  // namespace attnd::bench

int main(int argc, char** argv) {
  try {
    return attnd::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attnd_bench: %s\n", error.what());
    return 1;
  }
}
