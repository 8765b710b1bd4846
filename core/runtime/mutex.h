// std::mutex with clang's thread-safety annotations. Used instead of absl::Mutex because
// a distribution's uninstrumented absl makes ThreadSanitizer report races that are none.
#ifndef ATTND_CORE_RUNTIME_MUTEX_H_
#define ATTND_CORE_RUNTIME_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define ATTND_TSA(x) __attribute__((x))
#else
#define ATTND_TSA(x)
#endif
#define ATTND_CAPABILITY(x) ATTND_TSA(capability(x))
#define ATTND_SCOPED_CAPABILITY ATTND_TSA(scoped_lockable)
#define ATTND_GUARDED_BY(x) ATTND_TSA(guarded_by(x))
#define ATTND_REQUIRES(...) ATTND_TSA(requires_capability(__VA_ARGS__))
#define ATTND_EXCLUDES(...) ATTND_TSA(locks_excluded(__VA_ARGS__))
#define ATTND_ACQUIRE(...) ATTND_TSA(acquire_capability(__VA_ARGS__))
#define ATTND_RELEASE(...) ATTND_TSA(release_capability(__VA_ARGS__))
#define ATTND_NO_THREAD_SAFETY_ANALYSIS ATTND_TSA(no_thread_safety_analysis)

namespace attnd {

class ATTND_CAPABILITY("mutex") Mutex {
 public:
  void Lock() ATTND_ACQUIRE() { mutex_.lock(); }
  void Unlock() ATTND_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class ATTND_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ATTND_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() ATTND_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CondVar {
 public:
  // Releases `mutex` while waiting; may return without a Signal.
  void Wait(Mutex& mutex) ATTND_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // The same; also returns soon after `deadline`. Waits by the system clock, the only
  // timed wait that ThreadSanitizer knows, and so an hour at most at a time.
  void WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) ATTND_REQUIRES(mutex) {
    const auto now = std::chrono::steady_clock::now();
    if (deadline <= now) return;
    const auto wait = deadline < now + std::chrono::hours(1) ? deadline - now : std::chrono::hours(1);
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait_until(
        lock, std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(wait));
    lock.release();
  }
  void Signal() { cv_.notify_one(); }
  void SignalAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_MUTEX_H_
