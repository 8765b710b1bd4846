#include "tests/bench/perf_count.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/bench/runs.h"

// Callgrind counts while the program is in here, found by name.
extern "C" __attribute__((noinline)) void attnd_counted_run(attnd::bench::KernelRun& run) {
  run();
  __asm__ volatile("" ::: "memory");  // no jump instead of the call
}

namespace attnd::bench {
namespace {

// Standard output and error of a shell command; nothing if it failed, with them in `error`.
std::optional<std::string> OutputOf(const std::string& command, std::string& error) {
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");  // NOLINT(cert-env33-c): no word of it is foreign
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  std::array<char, 4096> chunk{};
  for (size_t n = 0; (n = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) text.append(chunk.data(), n);
  if (pclose(pipe) == 0) return text;
  error = text;
  return std::nullopt;
}

// The number behind `word` in a file.
std::optional<double> NumberAfter(const std::string& word, std::istream& file) {
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(word)) return std::strtod(line.c_str() + word.size(), nullptr);
  }
  return std::nullopt;
}

}  // namespace

void RunCounted(const Row& row, EngineKind engine) {
  KernelRun run(row, engine);
  run();
  attnd_counted_run(run);
  std::printf("pairs %.0f\n", run.flops() / static_cast<double>(2 * (row.dims.head_dim + row.dims.value_dim)));
}

std::optional<double> CountInstructions(const std::string& arguments, std::string& error) {
  const std::filesystem::path counts =
      std::filesystem::temp_directory_path() / ("attnd_perf." + std::to_string(getpid()));
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const auto output =
      OutputOf("valgrind -q --tool=callgrind --toggle-collect=attnd_counted_run --callgrind-out-file='" +
                   counts.string() + "' '" + self + "' " + arguments,
               error);
  std::ifstream file(counts);
  const auto instructions = NumberAfter("totals: ", file);
  std::filesystem::remove(counts);
  if (!output) return std::nullopt;
  std::istringstream lines(*output);
  const auto pairs = NumberAfter("pairs ", lines);
  if (instructions.value_or(0) > 0 && pairs.value_or(0) > 0) return *instructions / *pairs;
  error = "valgrind counted nothing: " + *output;
  return std::nullopt;
}

}  // namespace attnd::bench
