#include "tests/bench/report.h"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/attention/engine.h"
#include "core/runtime/cpu_count.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {
namespace {

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

const char* FieldOf(Measure measure) {
  switch (measure) {
    case Measure::kShareOfPeak:
      return "share_of_peak";
    case Measure::kShareOfBandwidth:
      return "share_of_bandwidth";
    case Measure::kWorkersRatio:
    case Measure::kOverPlain:
    case Measure::kOverShort:
    case Measure::kOverParts:
    case Measure::kOverOne:
      return "ratio";
    case Measure::kExtraMemory:
      return "extra_mib";
  }
  return "?";
}

const char* NameOf(DataType dtype) {
  if (dtype == DataType::kFloat16) return "f16";
  return dtype == DataType::kBfloat16 ? "bf16" : "f32";
}

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  const int n = std::snprintf(text, sizeof(text), format, args...);
  return {text, static_cast<size_t>(n)};
}

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif

// Compiler and library versions, by name.
nlohmann::json Versions(const Report& report) {
  nlohmann::json versions = {
      {"onednn", OnednnVersion()}, {"numerics_id", NumericsId(report.engine)}, {"compiler", kCompiler}};
  for (const auto& peer : report.peers.started) versions[peer->name()] = peer->version();
  return versions;
}

std::string TitleOf(const Peer& peer) { return peer.name() == "torch" ? "PyTorch" : "ONNX Runtime"; }

// There are targets for our speed over this peer.
bool HasTarget(const Peer& peer) { return peer.name() == "torch"; }

}  // namespace

std::string MachineLines(const Report& report) {
  const MachineResult& machine = report.machine;
  std::string text = CpuName() + ", " + YardstickIsa() + ", " + std::to_string(AvailableCpus()) + " CPUs, kernel " +
                     NumericsId(report.engine) + "\n";
  for (const auto& [threads, peak] : machine.fma_peak) {
    text += Format("%d thread%s: FMA peak %.1f GFLOP/s, reads %.1f GB/s\n", threads, threads == 1 ? " " : "s",
                   peak / 1e9, machine.read_bandwidth.at(threads) / 1e9);
  }
  if (machine.cycles_per_second > 0) {
    text += Format("core clock %.2f GHz, so %.1f FLOP per cycle at the peak\n", machine.cycles_per_second / 1e9,
                   machine.fma_peak.at(1) / machine.cycles_per_second);
  }
  return text;
}

std::string TableHead() {
  return Format("%-46s %7s %-18s %7s %7s %-6s %10s %5s\n", "row", "workers", "measure", "value", "target", "", "ms/run",
                "runs");
}

std::string TableLine(const RowResult& result) {
  std::string line = Format("%-46s %7d %-18s %7.3f %7.2f %-6s %10.3f %5d", result.row.name.c_str(), result.row.workers,
                            FieldOf(result.row.measure), result.value, result.target, result.met ? "met" : "missed",
                            1e3 * result.seconds, result.runs);
  for (const auto& [peer, value] : result.peers) line += Format("  %s %.3f", peer.c_str(), value);
  return line + "\n";
}

std::string PeerTable(const Report& report) {
  std::string text = Format("%s, %s, %d CPUs; attnd %s (%s, oneDNN %s)", CpuName().c_str(), YardstickIsa().c_str(),
                            AvailableCpus(), EngineName(report.engine), kCompiler, OnednnVersion().c_str());
  std::string head = "| share of peak or bandwidth; speed | attnd |";
  std::string rule = "|---|---|";
  for (const auto& peer : report.peers.started) {
    const std::string title = TitleOf(*peer);
    text.append("; ").append(title).append(" ").append(peer->version()).append(" (").append(peer->isa()).append(")");
    head.append(" ").append(title).append(" | attnd over it |");
    rule += "---|---|";
    if (!HasTarget(*peer)) continue;
    head += " wanted |";
    rule += "---|";
  }
  text.append("\n\n").append(head).append("\n").append(rule).append("\n");
  for (const RowResult& result : report.rows) {
    if (result.peers.empty()) continue;
    text.append("| ").append(result.row.name).append(Format(" | %.2f |", result.value));
    for (const auto& peer : report.peers.started) {
      const auto share = result.peers.find(peer->name());
      if (share == result.peers.end()) {
        text += HasTarget(*peer) ? " – | – | – |" : " – | – |";
        continue;
      }
      const double ratio = result.over_peers.at(peer->name());
      const double wanted = result.row.over_torch;
      text += Format(" %.2f | %.2f× |", share->second, ratio);
      if (HasTarget(*peer)) text += Format(" ≥ %.2f×%s |", wanted, ratio >= wanted ? "" : ", missed");
    }
    text += "\n";
  }
  return text;
}

std::string BudgetTable(const Report& report) {
  constexpr const char* kStages[] = {"loading", "qk", "masking", "softmax", "pv", "rest"};
  if (report.budgets.empty()) {
    return std::string("no budget: the steps of ") + EngineName(report.engine) + " cannot be run alone\n";
  }
  std::string text =
      "| cycles per visible pair | kernel | loading | QK^T | masking | softmax | PV | rest | products at the peak |\n"
      "|---|---|---|---|---|---|---|---|---|\n";
  for (const RowResult& result : report.rows) {
    const auto found = report.budgets.find(result.row.name);
    if (found == report.budgets.end()) continue;
    const Budget& budget = found->second;
    text.append("| ").append(result.row.name).append(Format(" | %.2f |", budget.total));
    for (const char* stage : kStages) {
      const auto cost = budget.stages.find(stage);
      text += cost == budget.stages.end() ? " – |" : Format(" %.2f |", cost->second);
    }
    text += Format(" %.2f |\n", budget.limit);
  }
  return text;
}

std::string Json(const Report& report) {
  const MachineResult& machine = report.machine;
  nlohmann::json json;
  nlohmann::json& m = json["machine"];
  m["cpu"] = CpuName();
  m["isa"] = YardstickIsa();
  m["cores"] = AvailableCpus();
  for (const auto& [threads, peak] : machine.fma_peak) m["fma_peak_gflops"][std::to_string(threads)] = peak / 1e9;
  for (const auto& [threads, bytes] : machine.read_bandwidth) m["read_gbps"][std::to_string(threads)] = bytes / 1e9;
  m["clock_ghz"] = machine.cycles_per_second / 1e9;
  m["versions"] = Versions(report);
  json["rows"] = nlohmann::json::array();
  for (const RowResult& result : report.rows) {
    nlohmann::json row = {{"name", result.row.name},
                          {"workers", result.row.workers},
                          {"engine", EngineName(result.engine)},
                          {"dtype", NameOf(result.row.dtype)},
                          {"baseline", result.baseline},
                          {"target", result.target},
                          {"seconds", result.seconds},
                          {"runs", result.runs}};
    row[FieldOf(result.row.measure)] = result.value;
    row["peers"] = result.peers.empty() ? nlohmann::json::object() : nlohmann::json(result.peers);
    row["over_peers"] = result.over_peers.empty() ? nlohmann::json::object() : nlohmann::json(result.over_peers);
    row["over_torch_target"] = result.row.over_torch;
    if (const auto budget = report.budgets.find(result.row.name); budget != report.budgets.end()) {
      row["budget"] = budget->second.stages;
      row["budget"]["total"] = budget->second.total;
      row["budget"]["limit"] = budget->second.limit;
    }
    json["rows"].push_back(row);
  }
  return json.dump(2) + "\n";
}

}  // namespace attnd::bench
