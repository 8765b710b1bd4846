#include "client/load/arrivals.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace attnd::load {
namespace {

// Longer than any run; keeps sums with the clock from overflowing.
constexpr double kNever = 1e9;

// In [0, 1). std's distributions are not the same on every platform.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11U) * 0x1p-53; }

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(seconds, kNever)));
}

}  // namespace

double RateAt(const LoadPoint& point, Duration time, Duration length) {
  if (point.model != LoadModel::kRamp) return point.rate;
  const double part = std::clamp(Seconds(time) / Seconds(length), 0.0, 1.0);
  return point.rate + (point.end_rate - point.rate) * part;
}

Arrivals::Arrivals(const LoadPoint& point, Duration warm_up, Duration length, uint64_t seed)
    : point_(point), warm_up_(Seconds(warm_up)), length_(Seconds(length)), random_(seed), last_(-warm_up_) {
  if (point.model == LoadModel::kRamp) warm_up_count_ = static_cast<int64_t>(std::ceil(warm_up_ * point.rate));
}

Duration Arrivals::Next() {
  switch (point_.model) {
    case LoadModel::kPoisson:
      last_ -= std::log1p(-Uniform(random_)) / point_.rate;
      break;
    case LoadModel::kRamp:
      last_ = NextOfRamp();
      break;
    case LoadModel::kConstant:
    case LoadModel::kClosed:
      last_ = static_cast<double>(count_) / point_.rate - warm_up_;
      break;
  }
  ++count_;
  return FromSeconds(last_);
}

double Arrivals::NextOfRamp() const {
  if (count_ < warm_up_count_) return static_cast<double>(count_) / point_.rate - warm_up_;
  // Up to time t of the ramp there are n = r t + (e - r) t^2 / (2 T) calls at rates from r to
  // e; solved for t in the form that also holds for e = r.
  const auto n = static_cast<double>(count_ - warm_up_count_);
  const double slope = (point_.end_rate - point_.rate) / length_;
  const double all = (point_.rate + point_.end_rate) / 2 * length_;
  if (n > all) return point_.end_rate > 0 ? length_ + (n - all) / point_.end_rate : kNever;
  const double root = std::sqrt(std::max(0.0, point_.rate * point_.rate + 2 * slope * n));
  return n == 0 ? 0 : 2 * n / (point_.rate + root);
}

uint64_t ChoiceSeed(uint64_t seed, int thread) {
  std::seed_seq seeds{seed, seed >> 32U, static_cast<uint64_t>(thread)};
  std::array<uint32_t, 2> mixed{};
  seeds.generate(mixed.begin(), mixed.end());
  return uint64_t{mixed[0]} << 32U | mixed[1];
}

WeightedChoice::WeightedChoice(const std::vector<double>& weights, uint64_t seed) : random_(seed) {
  double sum = 0;
  for (const double weight : weights) sums_.push_back(sum += weight);
}

size_t WeightedChoice::Next() {
  const double value = Uniform(random_) * sums_.back();
  const auto found = std::upper_bound(sums_.begin(), sums_.end() - 1, value);
  return static_cast<size_t>(found - sums_.begin());
}

}  // namespace attnd::load
