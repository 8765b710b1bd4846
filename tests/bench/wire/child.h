// A server under measurement: a process of its own on one CPU, and what the kernel says of it.
#ifndef ATTND_TESTS_BENCH_WIRE_CHILD_H_
#define ATTND_TESTS_BENCH_WIRE_CHILD_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace attnd::bench {

// Thread-compatible.
class Child {
 public:
  // Starts `arguments` (the first is the program) on `cpu` and waits for its first line of
  // output; nullptr if it ends before. What it says on standard error is not shown.
  static std::unique_ptr<Child> Start(std::vector<std::string> arguments, int cpu);
  // Closes its input, sends SIGTERM and waits for its end.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] const std::string& first_line() const { return first_line_; }
  // User and system time of all threads.
  [[nodiscard]] double CpuSeconds() const;
  // Page faults that needed no disk.
  [[nodiscard]] int64_t MinorFaults() const;
  // Resident memory; the most since ResetPeak.
  [[nodiscard]] int64_t ResidentBytes() const { return StatusBytes("VmRSS:"); }
  [[nodiscard]] int64_t PeakBytes() const { return StatusBytes("VmHWM:"); }
  void ResetPeak() const;

 private:
  Child(int pid, int input, std::FILE* output) : pid_(pid), input_(input), output_(output) {}
  [[nodiscard]] int64_t StatusBytes(const std::string& field) const;

  const int pid_;
  const int input_;
  std::FILE* const output_;
  std::string first_line_;
};

// The calling thread, and those it starts from now on, run on `cpu` only.
void PinThisThread(int cpu);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_WIRE_CHILD_H_
