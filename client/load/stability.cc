#include "client/load/stability.h"

#include <algorithm>
#include <utility>

namespace attnd::load {
namespace {

constexpr size_t kWindows = 3;
constexpr size_t kMaxBins = 96;
constexpr double kTolerance = 0.1;

// Largest difference over the mean.
template <typename Measure>
double Spread(const std::vector<StabilityWindow>& windows, const Measure& measure) {
  double least = measure(windows.back());
  double most = least;
  double sum = 0;
  for (size_t i = windows.size() - kWindows; i < windows.size(); ++i) {
    const double value = measure(windows[i]);
    least = std::min(least, value);
    most = std::max(most, value);
    sum += value;
  }
  return sum > 0 ? (most - least) * kWindows / sum : 0;
}

}  // namespace

Stability CheckStability(const std::vector<StabilityWindow>& windows) {
  Stability stability;
  if (windows.size() < kWindows) return stability;
  stability.throughput_spread =
      Spread(windows, [](const StabilityWindow& w) { return static_cast<double>(w.answered) / w.seconds; });
  stability.latency_spread = Spread(windows, [](const StabilityWindow& w) { return w.median; });
  const bool any = std::any_of(windows.end() - kWindows, windows.end(), [](const auto& w) { return w.answered > 0; });
  stability.reached = any && stability.throughput_spread <= kTolerance && stability.latency_spread <= kTolerance;
  return stability;
}

void StabilityBins::Record(Duration time, Duration response) {
  if (time < Duration(0)) return;
  while (time >= width_ * kMaxBins) Widen();
  const auto bin = static_cast<size_t>(time / width_);
  if (bin >= bins_.size()) bins_.resize(bin + 1);
  bins_[bin].Record(response);
}

void StabilityBins::Add(const StabilityBins& other) {
  StabilityBins copy = other;
  while (width_ < copy.width_) Widen();
  while (copy.width_ < width_) copy.Widen();
  if (copy.bins_.size() > bins_.size()) bins_.resize(copy.bins_.size());
  for (size_t i = 0; i < copy.bins_.size(); ++i) bins_[i].Add(copy.bins_[i]);
}

std::vector<StabilityWindow> StabilityBins::Thirds(Duration end) const {
  const auto whole = static_cast<size_t>(std::max(Duration(0), end) / width_);
  const size_t length = whole / kWindows;
  if (length == 0) return {};
  std::vector<StabilityWindow> windows;
  for (size_t begin = whole - kWindows * length; begin < whole; begin += length) {
    LatencyHistogram merged;
    for (size_t i = begin; i < std::min(begin + length, bins_.size()); ++i) merged.Add(bins_[i]);
    windows.push_back({Seconds(width_) * static_cast<double>(length), merged.count(), merged.Percentile(0.5)});
  }
  return windows;
}

void StabilityBins::Widen() {
  width_ *= 2;
  for (size_t i = 0; i < bins_.size(); ++i) {
    LatencyHistogram bin = std::exchange(bins_[i], {});
    if (i % 2 == 0) {
      bins_[i / 2] = std::move(bin);
    } else {
      bins_[i / 2].Add(bin);
    }
  }
  bins_.resize((bins_.size() + 1) / 2);
}

}  // namespace attnd::load
