#include "tests/bench/yardstick.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <barrier>
#include <cstdint>
#include <ctime>
#include <numeric>
#include <thread>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/yardstick.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Two FMA ports times at most five cycles of latency need ten chains; twelve leave slack
// and fit the sixteen registers of AVX2 beside two operands.
constexpr int kChains = 12;
constexpr int kUnroll = 4;

// Runs `iterations` steps; returns the number of floating-point operations.
double FmaLoop(int64_t iterations, float* sink) {
  const hn::ScalableTag<float> d;
  // x = x * a + b stays near b / (1 - a) = 1: no overflow, no denormals.
  const auto a = hn::Set(d, 0.75F);
  const auto b = hn::Set(d, 0.25F);
  // Equal chains would be merged into one by the compiler: each starts elsewhere.
  auto c0 = hn::Iota(d, 0.0F);
  auto c1 = hn::Iota(d, 1.0F);
  auto c2 = hn::Iota(d, 2.0F);
  auto c3 = hn::Iota(d, 3.0F);
  auto c4 = hn::Iota(d, 4.0F);
  auto c5 = hn::Iota(d, 5.0F);
  auto c6 = hn::Iota(d, 6.0F);
  auto c7 = hn::Iota(d, 7.0F);
  auto c8 = hn::Iota(d, 8.0F);
  auto c9 = hn::Iota(d, 9.0F);
  auto c10 = hn::Iota(d, 10.0F);
  auto c11 = hn::Iota(d, 11.0F);
  for (int64_t i = 0; i < iterations; ++i) {
    for (int u = 0; u < kUnroll; ++u) {
      c0 = hn::MulAdd(c0, a, b);
      c1 = hn::MulAdd(c1, a, b);
      c2 = hn::MulAdd(c2, a, b);
      c3 = hn::MulAdd(c3, a, b);
      c4 = hn::MulAdd(c4, a, b);
      c5 = hn::MulAdd(c5, a, b);
      c6 = hn::MulAdd(c6, a, b);
      c7 = hn::MulAdd(c7, a, b);
      c8 = hn::MulAdd(c8, a, b);
      c9 = hn::MulAdd(c9, a, b);
      c10 = hn::MulAdd(c10, a, b);
      c11 = hn::MulAdd(c11, a, b);
    }
  }
  const auto s0 = hn::Add(hn::Add(c0, c1), hn::Add(c2, c3));
  const auto s1 = hn::Add(hn::Add(c4, c5), hn::Add(c6, c7));
  const auto s2 = hn::Add(hn::Add(c8, c9), hn::Add(c10, c11));
  *sink = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), s2)));
  return 2.0 * kChains * kUnroll * static_cast<double>(iterations) * static_cast<double>(hn::Lanes(d));
}

// Reads everything once, as four streams that the prefetchers follow at the same time.
// `n` is a multiple of 4096.
float ReadLoop(const float* HWY_RESTRICT p, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t stream = n / 4;
  auto s0 = hn::Zero(d);
  auto s1 = s0;
  auto s2 = s0;
  auto s3 = s0;
  for (size_t i = 0; i < stream; i += hn::Lanes(d)) {
    s0 = hn::Add(s0, hn::Load(d, p + i));
    s1 = hn::Add(s1, hn::Load(d, p + stream + i));
    s2 = hn::Add(s2, hn::Load(d, p + 2 * stream + i));
    s3 = hn::Add(s3, hn::Load(d, p + 3 * stream + i));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace attnd::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::bench {
namespace {

HWY_EXPORT(FmaLoop);
HWY_EXPORT(ReadLoop);
HWY_EXPORT(Target);

constexpr size_t kBlockFloats = size_t{64} << 20;  // 256 MiB

// Where results go, so that no loop is optimised away.
std::atomic<float> g_sink = 0;

double FmaPeakOfThisThread(double seconds) {
  constexpr int64_t kSlice = 20'000;
  float sink = 0;
  double flops = 0;
  const double begin = ThreadSeconds();
  double elapsed = 0;
  while (elapsed < seconds) {
    flops += HWY_DYNAMIC_DISPATCH(FmaLoop)(kSlice, &sink);
    elapsed = ThreadSeconds() - begin;
  }
  g_sink = sink;
  return flops / elapsed;
}

// Runs `rate_of(thread)` on that many threads from one moment on; returns the sum.
template <typename RateOf>
double SumOverThreads(int threads, const RateOf& rate_of) {
  if (threads == 1) return rate_of(0);
  std::vector<double> rates(static_cast<size_t>(threads));
  std::barrier start(threads);
  std::vector<std::thread> workers;
  workers.reserve(static_cast<size_t>(threads));
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      start.arrive_and_wait();
      rates[static_cast<size_t>(t)] = rate_of(t);
    });
  }
  for (std::thread& worker : workers) worker.join();
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

}  // namespace

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

bool LimitIsa(const std::string& isa) {
#if HWY_ARCH_X86
  // A better target has a lower bit.
  constexpr int64_t kBetterThanAvx2 = HWY_AVX2 - 1;
  const int64_t supported = hwy::SupportedTargets();
  if (isa == "avx512") return (supported & kBetterThanAvx2) != 0;
  if (isa == "avx2") {
    // Not DisableTargets: in Highway 1.0 a later SupportedTargets() undoes it for dispatch.
    hwy::SetSupportedTargetsForTest(supported & ~kBetterThanAvx2);
    return (supported & HWY_AVX2) != 0;
  }
#endif
  return isa.empty();
}

std::string YardstickIsa() {
  const std::string target = HWY_DYNAMIC_DISPATCH(Target)();
  return target.starts_with("AVX3") ? "AVX512" : target;
}

double FmaPeak(int threads, double seconds) {
  return SumOverThreads(threads, [seconds](int) { return FmaPeakOfThisThread(seconds); });
}

double CyclesPerSecond() {
#if HWY_ARCH_X86_64
  constexpr int64_t kSteps = 3'000'000;
  uint64_t x = 3;
  const double begin = ThreadSeconds();
  for (int64_t i = 0; i < kSteps; ++i) __asm__ volatile("imul %0, %0" : "+r"(x));
  const double seconds = ThreadSeconds() - begin;
  g_sink = static_cast<float>(x & 1);
  return 3 * static_cast<double>(kSteps) / seconds;
#else
  return 0;
#endif
}

ReadYardstick::ReadYardstick(int threads) {
  for (int t = 0; t < threads; ++t) blocks_.emplace_back(kBlockFloats, 1.0F);
}

double ReadYardstick::BytesPerSecond(int threads) const {
  return SumOverThreads(threads, [this](int t) {
    const double begin = ThreadSeconds();
    g_sink = HWY_DYNAMIC_DISPATCH(ReadLoop)(blocks_[static_cast<size_t>(t)].data(), kBlockFloats);
    return static_cast<double>(kBlockFloats * sizeof(float)) / (ThreadSeconds() - begin);
  });
}

struct Spinners::Impl {
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
};

Spinners::Spinners() : impl_(std::make_unique<Impl>()) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    impl_->threads.emplace_back([this, cpu] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_param none{};
      // A spinner that competes with the measured work would be worse than none.
      if (pthread_setaffinity_np(pthread_self(), sizeof(one), &one) != 0 ||
          pthread_setschedparam(pthread_self(), SCHED_IDLE, &none) != 0) {
        return;
      }
      while (!impl_->stop.load(std::memory_order_relaxed)) hwy::Pause();
    });
  }
}

Spinners::~Spinners() {
  impl_->stop = true;
  for (std::thread& thread : impl_->threads) thread.join();
}

}  // namespace attnd::bench
#endif  // HWY_ONCE
