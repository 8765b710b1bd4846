// attnd_perf: fails when attention has become slower than it was.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <optional>
#include <regex>
#include <string>

#include "core/attention/engine.h"
#include "tests/bench/measure.h"
#include "tests/bench/perf_bounds.h"
#include "tests/bench/perf_count.h"
#include "tests/bench/yardstick.h"

namespace attnd::bench {
namespace {

constexpr int kUsage = 2;
// A machine that was busy with something else gets another chance, a slow kernel does not pass.
constexpr int kTries = 3;

struct Flags {
  std::string engine = "auto";
  std::string filter;
  std::string count;
  double strictness = 1;
};

// Prints a line per check and remembers how they went.
class Verdicts {
 public:
  // `measured` is unset if there is no figure, because of `error`; `allowed` if there is no bound.
  void Add(const std::string& check, std::optional<double> measured, const char* relation,
           std::optional<double> allowed, bool good, const std::string& error) {
    const bool passed = measured && allowed && good;
    (passed ? passed_ : failed_) += 1;
    std::printf("%s  %-60s", passed ? "passed" : "FAILED", check.c_str());
    if (!measured) std::printf("  not measured: %s", error.c_str());
    if (measured) std::printf("  measured %.4g", *measured);
    if (measured && allowed) std::printf(", allowed %s %.4g", relation, *allowed);
    if (measured && !allowed) std::printf(", no bound for this engine: add one to perf_bounds.cc");
    std::printf("\n");
    std::fflush(stdout);
  }
  [[nodiscard]] int Finish() const {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ == 0 && passed_ > 0 ? 0 : 1;
  }

 private:
  int passed_ = 0;
  int failed_ = 0;
};

std::optional<double> BoundOf(const std::map<std::string, double>& bounds, const std::string& engine) {
  const auto bound = bounds.find(engine);
  if (bound == bounds.end()) return std::nullopt;
  return bound->second;
}

void CheckInstructions(const CountedRow& counted, EngineKind engine, double strictness, Verdicts& verdicts) {
  const std::string name = EngineName(engine);
  std::string error;
  const auto measured = CountInstructions("--engine " + name + " --count " + counted.row.name, error);
  auto allowed = BoundOf(counted.measured, name);
  if (allowed) *allowed *= kInstructionSlack / strictness;
  verdicts.Add("instructions per pair, AVX2, " + counted.row.name, measured, "<=", allowed,
               measured && allowed && *measured <= *allowed, error);
}

void CheckShare(const Row& row, const LeastShare& least, const ReadYardstick& read, EngineKind engine,
                double strictness, Verdicts& verdicts) {
  auto allowed = BoundOf(least.share, EngineName(engine));
  if (allowed) *allowed *= strictness;
  MeasureOptions options;
  options.engine = engine;
  options.row_seconds = 1;
  double best = 0;
  for (int i = 0; i < kTries && (i == 0 || (allowed && best < *allowed)); ++i) {
    best = std::max(best, MeasureRow(row, read, Peers(), options).value);
  }
  const char* limit = row.measure == Measure::kShareOfBandwidth ? "share of read bandwidth, " : "share of FMA peak, ";
  verdicts.Add(limit + YardstickIsa() + ", " + row.name, best, ">=", allowed, allowed && best >= *allowed, "");
}

int Count(const std::string& name, EngineKind engine) {
  for (const CountedRow& counted : CountedRows()) {
    if (counted.row.name != name) continue;
    RunCounted(counted.row, engine);
    return 0;
  }
  std::cerr << "attnd_perf: no counted row " << name << "\n";
  return kUsage;
}

int Check(const Flags& flags, EngineKind engine) {
  const std::regex pattern(flags.filter);
  const auto wanted = [&pattern](const std::string& check) { return std::regex_search(check, pattern); };
  Verdicts verdicts;
  for (const CountedRow& counted : CountedRows()) {
    if (wanted("instructions/" + counted.row.name)) CheckInstructions(counted, engine, flags.strictness, verdicts);
  }
  const Spinners spinners;
  const ReadYardstick read(1);
  const std::vector<Row> rows = AllRows();
  for (const LeastShare& least : LeastShares()) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&least](const Row& r) { return r.name == least.row; });
    if (row == rows.end()) {
      verdicts.Add(least.row, std::nullopt, "", std::nullopt, false, "there is no such row");
    } else if (wanted("share/" + least.row)) {
      CheckShare(*row, least, read, engine, flags.strictness, verdicts);
    }
  }
  return verdicts.Finish();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Checks that attention is as fast as it was: instructions of its AVX2 code, shares of the FMA peak.");
  app.add_option("--engine", flags.engine, "auto, or an engine by name");
  app.add_option("--filter", flags.filter, "only checks instructions/ROW and share/ROW that match");
  app.add_option("--strictness", flags.strictness, "factor by which bounds are tighter")->check(CLI::PositiveNumber);
  app.add_option("--count", flags.count, "run this counted row once, for valgrind")->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const auto engine = ParseEngine(flags.engine);
  if (!engine.ok()) {
    std::cerr << "attnd_perf: --engine: " << engine.status().message() << "\n";
    return kUsage;
  }
  return flags.count.empty() ? Check(flags, *engine) : Count(flags.count, *engine);
}

}  // namespace
}  // namespace attnd::bench

int main(int argc, char** argv) {
  try {
    return attnd::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attnd_perf: %s\n", error.what());
    return 1;
  }
}
