#include "client/load/arrival_check.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "client/load/arrivals.h"

namespace attnd::load {
namespace {

// The distance that 95 of 100 samples of a size n stay under is this over sqrt(n)
// (Kolmogorov's distribution).
constexpr double kKolmogorov95 = 1.3581;
// Part of a gap that a send may be late, and of the sends that may be later.
constexpr double kLateness = 0.1;
constexpr double kLateShare = 0.05;

// Kolmogorov-Smirnov distance of `gaps` from the exponential distribution of mean 1 / rate.
double DistanceFromExponential(std::vector<double> gaps, double rate) {
  std::sort(gaps.begin(), gaps.end());
  const auto n = static_cast<double>(gaps.size());
  double distance = 0;
  for (size_t i = 0; i < gaps.size(); ++i) {
    const double wanted = -std::expm1(-rate * gaps[i]);
    const auto below = static_cast<double>(i);
    distance = std::max({distance, wanted - below / n, (below + 1) / n - wanted});
  }
  return distance;
}

double Variation(const std::vector<double>& gaps) {
  const auto n = static_cast<double>(gaps.size());
  double sum = 0;
  for (const double gap : gaps) sum += gap;
  const double mean = sum / n;
  double squares = 0;
  for (const double gap : gaps) squares += (gap - mean) * (gap - mean);
  return mean > 0 ? std::sqrt(squares / n) / mean : 0;
}

}  // namespace

ArrivalCheck CheckArrivals(const LoadPoint& point, Duration length, std::vector<Arrival> arrivals) {
  ArrivalCheck check;
  check.rate_wanted = (RateAt(point, Duration(0), length) + RateAt(point, length, length)) / 2;
  if (arrivals.size() < 2) return check;
  std::sort(arrivals.begin(), arrivals.end(), [](const Arrival& a, const Arrival& b) { return a.sent < b.sent; });
  std::vector<double> gaps;
  for (size_t i = 1; i < arrivals.size(); ++i) gaps.push_back(Seconds(arrivals[i].sent - arrivals[i - 1].sent));
  const auto n = static_cast<double>(gaps.size());
  const double span = Seconds(arrivals.back().sent - arrivals.front().sent);
  check.rate_sent = span > 0 ? n / span : 0;
  check.variation = Variation(gaps);
  if (point.model == LoadModel::kPoisson) {
    check.distance = DistanceFromExponential(std::move(gaps), point.rate);
    check.distance_limit = kKolmogorov95 / std::sqrt(n);
    return check;
  }
  const auto late = std::count_if(arrivals.begin(), arrivals.end(), [&](const Arrival& a) {
    return Seconds(a.sent - a.intended) * RateAt(point, a.intended, length) > kLateness;
  });
  check.distance = static_cast<double>(late) / static_cast<double>(arrivals.size());
  check.distance_limit = kLateShare;
  return check;
}

}  // namespace attnd::load
