#include "server/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <string_view>

namespace attnd {
namespace {

constexpr int kSignalExit = 128;
constexpr std::chrono::milliseconds kEcho{100};

sigset_t Stops() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

int OpenSignals() {
  const sigset_t set = Stops();
  return signalfd(-1, &set, SFD_CLOEXEC);
}

}  // namespace

void BlockStopSignals() {
  // A log reader that goes away must not take the server with it.
  std::signal(SIGPIPE, SIG_IGN);
  const sigset_t set = Stops();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

StopSignals::StopSignals()
    : signals_(OpenSignals()), end_(eventfd(0, EFD_CLOEXEC)), thread_(&StopSignals::Watch, this) {}

StopSignals::~StopSignals() {
  const uint64_t one = 1;
  (void)!write(end_, &one, sizeof(one));
  thread_.join();
  close(signals_);
  close(end_);
}

int StopSignals::AwaitFirst() {
  const MutexLock lock(mutex_);
  while (first_ == 0) came_.Wait(mutex_);
  return first_;
}

void StopSignals::Watch() {
  std::array<pollfd, 2> fds = {{{signals_, POLLIN, 0}, {end_, POLLIN, 0}}};
  while (true) {
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signals_, &info, sizeof(info)) != sizeof(info)) continue;
    const auto number = static_cast<int>(info.ssi_signo);
    const auto now = std::chrono::steady_clock::now();
    const MutexLock lock(mutex_);
    if (first_ != 0) {
      if (now - came_at_ < kEcho) continue;
      constexpr std::string_view kMessage = "attnd: second signal; exiting at once\n";
      (void)!write(STDERR_FILENO, kMessage.data(), kMessage.size());
      _exit(kSignalExit + number);
    }
    first_ = number;
    came_at_ = now;
    came_.SignalAll();
  }
}

}  // namespace attnd
