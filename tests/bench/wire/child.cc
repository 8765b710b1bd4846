#include "tests/bench/wire/child.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <ctime>
#include <fstream>
#include <sstream>

namespace attnd::bench {
namespace {

std::string ProcFile(int pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::string FirstLine(std::FILE* file) {
  std::string line;
  for (int c = std::fgetc(file); c != EOF && c != '\n'; c = std::fgetc(file)) line.push_back(static_cast<char>(c));
  return line;
}

}  // namespace

std::unique_ptr<Child> Child::Start(std::vector<std::string> arguments, int cpu) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::array<int, 2> input{};
  std::array<int, 2> output{};
  if (pipe2(input.data(), O_CLOEXEC) != 0 || pipe2(output.data(), O_CLOEXEC) != 0) return nullptr;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  // The child inherits where this thread may run.
  cpu_set_t before;
  sched_getaffinity(0, sizeof(before), &before);
  PinThisThread(cpu);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  sched_setaffinity(0, sizeof(before), &before);
  posix_spawn_file_actions_destroy(&actions);
  close(input[0]);
  close(output[1]);
  std::unique_ptr<Child> child(new Child(failed == 0 ? pid : 0, input[1], fdopen(output[0], "r")));
  child->first_line_ = failed == 0 ? FirstLine(child->output_) : "";
  return child->first_line_.empty() ? nullptr : std::move(child);
}

Child::~Child() {
  close(input_);
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  std::fclose(output_);
}

double Child::CpuSeconds() const {
  clockid_t clock = 0;
  timespec time{};
  if (clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

int64_t Child::MinorFaults() const {
  std::ifstream file(ProcFile(pid_, "stat"));
  std::string text;
  std::getline(file, text);
  // After the name, which may hold anything: state, and minflt as the eighth field from there.
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 7; ++i) fields >> skipped;
  int64_t faults = 0;
  fields >> faults;
  return faults;
}

int64_t Child::StatusBytes(const std::string& field) const {
  std::ifstream file(ProcFile(pid_, "status"));
  for (std::string word; file >> word;) {
    int64_t kib = 0;
    if (word == field && file >> kib) return kib * 1024;
  }
  return 0;
}

void Child::ResetPeak() const { std::ofstream(ProcFile(pid_, "clear_refs")) << "5"; }

void PinThisThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

}  // namespace attnd::bench
