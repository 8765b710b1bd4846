#include "server/idle_trimmer.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "server/logging.h"

namespace attnd {
namespace {

// Looks per idle time.
constexpr int kLooks = 4;
constexpr std::chrono::milliseconds kShortestLook{10};

}  // namespace

IdleTrimmer::IdleTrimmer(std::chrono::milliseconds idle, BufferPool* pool, std::function<int64_t()> activity)
    : idle_(idle), pool_(pool), activity_(std::move(activity)), thread_(&IdleTrimmer::Watch, this) {}

IdleTrimmer::~IdleTrimmer() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
    end_.SignalAll();
  }
  thread_.join();
}

bool IdleTrimmer::Wait() {
  const auto until = std::chrono::steady_clock::now() + std::max(idle_ / kLooks, kShortestLook);
  const MutexLock lock(mutex_);
  while (!ending_ && std::chrono::steady_clock::now() < until) end_.WaitUntil(mutex_, until);
  return ending_;
}

void IdleTrimmer::Watch() {
  int64_t last = activity_();
  int quiet_looks = 0;
  while (!Wait()) {
    const int64_t now = activity_();
    quiet_looks = now == last ? quiet_looks + 1 : 0;
    last = now;
    if (quiet_looks != kLooks) continue;
    pool_->Trim();
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
    Log(LogLevel::kDebug, "idle: freed memory went back to the system");
  }
}

}  // namespace attnd
