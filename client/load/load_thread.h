// A share of a run's calls: sends them when they are due, and records what comes of them.
#ifndef ATTND_CLIENT_LOAD_LOAD_THREAD_H_
#define ATTND_CLIENT_LOAD_LOAD_THREAD_H_

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/load/arrivals.h"
#include "client/load/call.h"
#include "client/load/recorder.h"
#include "client/load/run_course.h"
#include "client/load/verifier.h"
#include "client/load/work.h"
#include "core/runtime/clock.h"

namespace attnd::load {

// What a thread has to do.
struct ThreadShare {
  // In turn.
  std::vector<Endpoint> endpoints;
  // This thread's number among all of them; its calls are every threads-th.
  int index = 0;
  int threads = 1;
  // Closed loop: how many of the callers.
  int callers = 0;
  // Open loop.
  int max_in_flight = 1;
  // Calls that wait for one in flight to end; those beyond fail.
  size_t max_kept = 1'000'000;
  // Of each call, from its intended send time on; 0 for none.
  std::chrono::milliseconds timeout{};
  int max_attempts = 1;
  uint64_t seed = 1;
};

// One thread receives, and in a closed loop sends the next call of the same caller. In an open
// loop a second one sends, because gRPC waits no more exactly than to a millisecond.
class LoadThread {
 public:
  // What is pointed or referred to must outlive it. `verifier` may be nullptr.
  LoadThread(ThreadShare share, const std::vector<Work>& works, Verifier* verifier, RunCourse* course);
  // REQUIRES: Join was called.
  ~LoadThread() = default;
  LoadThread(const LoadThread&) = delete;
  LoadThread& operator=(const LoadThread&) = delete;

  void Start();
  // No more calls, and none under way. Thread-safe, as the next ones.
  [[nodiscard]] bool finished() const { return finished_; }
  // CPU clocks of its threads; good from Start to Join.
  [[nodiscard]] std::vector<clockid_t> clocks();
  // Calls that are due and not answered.
  [[nodiscard]] int64_t outstanding() const;
  LiveCounts TakeLive();

  void Join();
  // REQUIRES: Join was called.
  [[nodiscard]] const Recorder& recorder() const { return recorder_; }

 private:
  // A call that is or will be due.
  struct Due {
    Time intended;
    size_t work = 0;
    bool measured = false;
  };

  void Receive();
  void Pace();

  [[nodiscard]] std::optional<Due> Admit(Time intended);
  // A call that counts as in flight; nullptr if there must be no more of them, and the call is
  // kept for later if `keep`. In an open loop those that are not kept are taken before they are
  // due.
  Call* Take(const Due& due, bool keep);
  // REQUIRES: mutex_ is held.
  Call* TakeIdle();
  static void Fill(Call* call, const Due& due);
  // It is not in flight any more, and then not needed.
  void Leave();
  void GiveBack(Call* call);

  void Prepare(Call* call);
  void PrepareAndSend(Call* call);

  void OnEvent(Call* call, Time now);
  void AfterPause(Call* call, Time now);
  // True if the call is to be sent again, which it then is after a pause.
  bool Retry(Call* call);
  // A caller's next call, at once or after a pause if there was no server.
  void NextOfCaller(const Call& last);
  // In the place of a call that has ended, one that was kept back.
  void SendKept();
  void Record(Call* call);
  static void RecordUnsent(const Due& due, Time now, const grpc::Status& status, Recorder* recorder);
  // The run was stopped while the call may have been due.
  void GiveUp(Time intended, bool measured);
  void GiveUpKept();

  [[nodiscard]] std::optional<Time> DeadlineOf(Time intended) const;
  [[nodiscard]] bool NothingLeft() const;
  void CancelAll();

  ThreadShare share_;
  const std::vector<Work>& works_;
  Verifier* const verifier_;
  RunCourse* const course_;
  const bool open_;
  // Of the receiving thread, and what the other one has to record.
  Recorder recorder_;
  Recorder paced_;
  WeightedChoice choice_;
  std::atomic<size_t> next_endpoint_;
  // See Call::Send.
  std::atomic<int64_t> sends_{0};
  grpc::CompletionQueue queue_;

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> idle_;
  std::deque<Due> kept_;
  int64_t in_flight_ = 0;
  // Of those in flight: taken before they are due.
  std::atomic<int64_t> ahead_{0};
  bool pacing_;

  std::atomic<bool> finished_{false};
  std::atomic<bool> joining_{false};
  std::thread receiver_;
  std::thread pacer_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_LOAD_THREAD_H_
