#include "client/load/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace attnd::load {
namespace {

// Values below 2^11 have a bucket each; every power of two above is cut into 2^10.
constexpr int kPrecisionBits = 10;
constexpr int64_t kLargest = int64_t{1} << 42;
// Buckets of a page: a quarter of a power of two.
constexpr size_t kPage = size_t{1} << (kPrecisionBits - 2);

size_t BucketOf(int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  const int shift = std::max(0, static_cast<int>(std::bit_width(bits)) - (kPrecisionBits + 1));
  return (static_cast<size_t>(shift) << kPrecisionBits) + static_cast<size_t>(bits >> shift);
}

// The largest value of a bucket.
int64_t TopOf(size_t bucket) {
  const size_t shift = std::max<size_t>(1, bucket >> kPrecisionBits) - 1;
  const size_t mantissa = bucket - (shift << kPrecisionBits);
  return static_cast<int64_t>(((mantissa + 1) << shift) - 1);
}

}  // namespace

void LatencyHistogram::Record(Duration value) {
  const int64_t nanoseconds =
      std::clamp<int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(value).count(), 0, kLargest);
  const size_t bucket = BucketOf(nanoseconds);
  if (bucket / kPage >= pages_.size()) pages_.resize(bucket / kPage + 1);
  std::vector<int64_t>& page = pages_[bucket / kPage];
  if (page.empty()) page.resize(kPage);
  ++page[bucket % kPage];
  min_ = count_ == 0 ? nanoseconds : std::min(min_, nanoseconds);
  max_ = std::max(max_, nanoseconds);
  sum_ += static_cast<double>(nanoseconds);
  ++count_;
}

void LatencyHistogram::Add(const LatencyHistogram& other) {
  if (other.count_ == 0) return;
  if (other.pages_.size() > pages_.size()) pages_.resize(other.pages_.size());
  for (size_t i = 0; i < other.pages_.size(); ++i) {
    if (!other.pages_[i].empty()) pages_[i].resize(kPage);
    for (size_t j = 0; j < other.pages_[i].size(); ++j) pages_[i][j] += other.pages_[i][j];
  }
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
  count_ += other.count_;
}

double LatencyHistogram::Percentile(double share) const {
  if (count_ == 0) return 0;
  const auto rank =
      std::clamp<int64_t>(static_cast<int64_t>(std::ceil(share * static_cast<double>(count_))), 1, count_);
  int64_t seen = 0;
  for (size_t i = 0; i < pages_.size(); ++i) {
    for (size_t j = 0; j < pages_[i].size(); ++j) {
      seen += pages_[i][j];
      if (seen >= rank) return static_cast<double>(std::clamp(TopOf(i * kPage + j), min_, max_)) * 1e-9;
    }
  }
  return max();
}

int64_t LatencyHistogram::CountUpTo(Duration limit) const {
  const int64_t nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(limit).count();
  if (nanoseconds < 0) return 0;
  const size_t last = BucketOf(std::min(nanoseconds, kLargest));
  int64_t count = 0;
  for (size_t i = 0; i < pages_.size(); ++i) {
    for (size_t j = 0; j < pages_[i].size() && i * kPage + j <= last; ++j) count += pages_[i][j];
  }
  return count;
}

double LatencyHistogram::mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_) * 1e-9; }

}  // namespace attnd::load
