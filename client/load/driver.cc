#include "client/load/driver.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>

#include "client/channel.h"
#include "client/load/arrival_check.h"
#include "client/load/await_server.h"
#include "client/load/load_thread.h"
#include "client/load/recorder.h"
#include "client/load/run_course.h"
#include "client/load/run_warnings.h"
#include "client/load/run_watch.h"
#include "client/load/stability.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;

// From the call of Run to the first call of all threads.
constexpr milliseconds kStart{5};
// Calls that all threads hold back at most.
constexpr size_t kMaxKept = 1'000'000;
// So many more calls under way at the end than at the beginning, and such a part of all, are
// a backlog.
constexpr double kLeastBacklog = 10;
constexpr double kBacklogShare = 0.01;

bool IsRate(double rate) { return std::isfinite(rate) && rate > 0; }

absl::Status CheckPoint(const LoadPoint& point) {
  if (point.model == LoadModel::kClosed) {
    return point.concurrency > 0 ? absl::OkStatus() : absl::InvalidArgumentError("concurrency: must be at least 1");
  }
  const bool ramps = point.model == LoadModel::kRamp && (IsRate(point.rate) || point.rate == 0) &&
                     (IsRate(point.end_rate) || point.end_rate == 0) && point.rate + point.end_rate > 0;
  if (IsRate(point.rate) || ramps) return absl::OkStatus();
  return absl::InvalidArgumentError("rate: must be above 0 calls per second");
}

absl::Status CheckPlan(const DriverOptions& options, const std::vector<Work>& works, const RunPlan& plan) {
  if (options.addresses.empty()) return absl::InvalidArgumentError("addresses: none");
  if (options.channels < 1) return absl::InvalidArgumentError("channels: must be at least 1");
  if (options.threads < 1) return absl::InvalidArgumentError("threads: must be at least 1");
  if (options.max_in_flight < 1) return absl::InvalidArgumentError("max_in_flight: must be at least 1");
  if (options.timeout.count() < 0) return absl::InvalidArgumentError("timeout: negative; 0 means no bound");
  if (works.empty()) return absl::InvalidArgumentError("works: none");
  if (plan.warm_up < Duration(0)) return absl::InvalidArgumentError("warm_up: negative");
  if (plan.duration <= Duration(0)) return absl::InvalidArgumentError("duration: must be above 0");
  if (plan.calls.has_value() && *plan.calls < 1) return absl::InvalidArgumentError("calls: must be at least 1");
  return CheckPoint(plan.point);
}

}  // namespace

class Driver::Impl {
 public:
  Impl(DriverOptions options, const std::vector<Work>& works, Verifier* verifier);

  absl::Status Connect(const std::atomic<bool>& stop);
  absl::StatusOr<RunResult> Run(const RunPlan& plan, const std::atomic<bool>& stop,
                                const std::function<void(const Progress&)>& progress);

 private:
  [[nodiscard]] ThreadShare ShareOf(int thread, const RunPlan& plan, uint64_t seed) const;
  [[nodiscard]] std::vector<Endpoint> EndpointsOf(int thread) const;
  [[nodiscard]] RunResult ResultOf(const RunCourse& course, const LoadThreads& threads, const RunWatch& watch) const;

  const DriverOptions options_;
  const std::vector<Work>& works_;
  Verifier* const verifier_;
  // Of each address.
  std::vector<std::vector<std::shared_ptr<grpc::Channel>>> channels_;
  // So that each run has random numbers of its own.
  uint64_t runs_ = 0;
};

Driver::Impl::Impl(DriverOptions options, const std::vector<Work>& works, Verifier* verifier)
    : options_(std::move(options)), works_(works), verifier_(verifier) {
  for (const std::string& address : options_.addresses) {
    auto& channels = channels_.emplace_back();
    for (int i = 0; i < options_.channels; ++i) {
      channels.push_back(MakeChannel(address, {.resends = false, .own_connection = true}));
    }
  }
}

absl::Status Driver::Impl::Connect(const std::atomic<bool>& stop) {
  for (size_t i = 0; i < channels_.size(); ++i) {
    for (const auto& channel : channels_[i]) {
      absl::Status status = AwaitServer(options_.addresses[i], channel, kConnectPatience, stop);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RunResult> Driver::Impl::Run(const RunPlan& plan, const std::atomic<bool>& stop,
                                            const std::function<void(const Progress&)>& progress) {
  if (auto status = CheckPlan(options_, works_, plan); !status.ok()) return status;
  std::seed_seq seeds{options_.seed, options_.seed >> 32U, runs_++};
  std::array<uint32_t, 2> seed{};
  seeds.generate(seed.begin(), seed.end());

  RunCourse course(plan, Clock::Real().Now() + kStart);
  LoadThreads threads;
  for (int i = 0; i < options_.threads; ++i) {
    threads.emplace_back(ShareOf(i, plan, uint64_t{seed[0]} << 32U | seed[1]), works_, verifier_, &course);
  }
  RunWatch watch(&course, &threads, progress);
  for (LoadThread& thread : threads) thread.Start();
  watch.UntilFinished(stop);
  for (LoadThread& thread : threads) thread.Join();
  return ResultOf(course, threads, watch);
}

ThreadShare Driver::Impl::ShareOf(int thread, const RunPlan& plan, uint64_t seed) const {
  // The first ones take what does not divide.
  const auto share = [&](int whole) { return whole / options_.threads + (thread < whole % options_.threads ? 1 : 0); };
  ThreadShare result;
  result.endpoints = EndpointsOf(thread);
  result.index = thread;
  result.threads = options_.threads;
  if (plan.point.model == LoadModel::kClosed) result.callers = share(plan.point.concurrency);
  result.max_in_flight = std::max(1, share(options_.max_in_flight));
  result.max_kept = kMaxKept / static_cast<size_t>(options_.threads);
  result.timeout = options_.timeout;
  result.max_attempts = options_.max_attempts;
  result.seed = seed;
  return result;
}

std::vector<Endpoint> Driver::Impl::EndpointsOf(int thread) const {
  std::vector<Endpoint> endpoints;
  // A connection is another thread's, too, only if there are not enough of them.
  const int step = std::min(options_.channels, options_.threads);
  for (int i = thread % step; i < options_.channels; i += step) {
    for (size_t address = 0; address < channels_.size(); ++address) {
      endpoints.emplace_back(options_.addresses[address], channels_[address][static_cast<size_t>(i)]);
    }
  }
  return endpoints;
}

RunResult Driver::Impl::ResultOf(const RunCourse& course, const LoadThreads& threads, const RunWatch& watch) const {
  const RunPlan& plan = course.plan();
  const bool open = plan.point.model != LoadModel::kClosed;
  Recorder sum(works_, course.measured_begin(), plan.good_latency, 0);
  for (const LoadThread& thread : threads) sum.Add(thread.recorder());

  Duration length = course.end() - course.measured_begin();
  int64_t fell_behind = 0;
  if (open && !watch.interrupted()) {
    const auto calls = static_cast<double>(sum.calls());
    if (static_cast<double>(watch.backlog()) > std::max(kLeastBacklog, kBacklogShare * calls)) {
      fell_behind = watch.backlog();
    }
  }
  // Calls that the server did not keep up with took it longer than they were due, and so they
  // did where the callers of a closed loop ran out of calls.
  const bool ran_out = !open && plan.calls.has_value() && course.end() < course.measured_begin() + plan.duration;
  if (fell_behind > 0 || (ran_out && !watch.interrupted())) length = std::max(length, sum.last_answer());

  RunResult result = sum.Result(Seconds(length));
  result.point = plan.point;
  result.warm_up_seconds = Seconds(plan.warm_up);
  result.stability = CheckStability(sum.stability().Thirds(length));
  if (open) result.arrivals = CheckArrivals(plan.point, plan.duration, sum.arrivals());
  result.client = watch.cost();
  result.interrupted = watch.interrupted();
  if (verifier_ != nullptr) result.verification = verifier_->Finish();
  result.warnings = WarningsOf(result, fell_behind);
  return result;
}

Driver::Driver(const DriverOptions& options, const std::vector<Work>& works, Verifier* verifier)
    : impl_(std::make_unique<Impl>(options, works, verifier)) {}

Driver::~Driver() = default;

absl::Status Driver::Connect(const std::atomic<bool>& stop) { return impl_->Connect(stop); }

absl::StatusOr<RunResult> Driver::Run(const RunPlan& plan, const std::atomic<bool>& stop,
                                      const std::function<void(const Progress&)>& progress) {
  return impl_->Run(plan, stop, progress);
}

}  // namespace attnd::load
