// Gives memory back when nobody has asked for anything for a while.
#ifndef ATTND_SERVER_IDLE_TRIMMER_H_
#define ATTND_SERVER_IDLE_TRIMMER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

#include "core/runtime/buffer_pool.h"
#include "core/runtime/mutex.h"

namespace attnd {

// Watches on a thread of its own from construction to destruction: when `activity` has not
// changed for `idle`, trims the pool and malloc, once until it changes again.
class IdleTrimmer {
 public:
  // `pool` must outlive the trimmer; `activity` is called on its thread.
  IdleTrimmer(std::chrono::milliseconds idle, BufferPool* pool, std::function<int64_t()> activity);
  ~IdleTrimmer();
  IdleTrimmer(const IdleTrimmer&) = delete;
  IdleTrimmer& operator=(const IdleTrimmer&) = delete;

 private:
  void Watch() ATTND_EXCLUDES(mutex_);
  // Waits; true if the trimmer is to end.
  bool Wait() ATTND_EXCLUDES(mutex_);

  const std::chrono::milliseconds idle_;
  BufferPool* const pool_;
  const std::function<int64_t()> activity_;
  Mutex mutex_;
  CondVar end_;
  bool ending_ ATTND_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_IDLE_TRIMMER_H_
