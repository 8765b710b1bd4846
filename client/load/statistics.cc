#include "client/load/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace attnd::load {
namespace {

double MeanOf(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// Of the population that `values` are from; needs two of them.
double VarianceOf(std::span<const double> values, double mean) {
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum / static_cast<double>(values.size() - 1);
}

// How many independent values would tell as much of the mean as a series whose correlation
// from each value to the next is r: n (1 - r) / (1 + r). At least 2.
double IndependentCount(std::span<const double> values, double mean) {
  const auto count = static_cast<double>(values.size());
  double products = 0;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    squares += (values[i] - mean) * (values[i] - mean);
    if (i > 0) products += (values[i] - mean) * (values[i - 1] - mean);
  }
  const double correlation = squares == 0 ? 0 : std::clamp(products / squares, 0.0, 1.0);
  return std::max(2.0, count * (1 - correlation) / (1 + correlation));
}

// Probability that a t-distributed value is within -t..t: with t = sqrt(degrees) tan(x) the
// density is cos(x)^(degrees - 1) / B(1/2, degrees/2) on -pi/2..pi/2. Simpson's rule.
double ProbabilityWithin(double t, double degrees) {
  constexpr int kSteps = 200;
  const double end = std::atan(t / std::sqrt(degrees));
  const double step = end / kSteps;
  double sum = 1 + std::pow(std::cos(end), degrees - 1);
  for (int i = 1; i < kSteps; ++i) sum += (i % 2 == 0 ? 2 : 4) * std::pow(std::cos(i * step), degrees - 1);
  return 2 * sum * step / 3 / std::beta(0.5, degrees / 2);
}

}  // namespace

double StudentT95(double degrees) {
  // Two repetitions have one degree of freedom; below it only rounding leads.
  const double wanted = std::max(1.0, degrees);
  double low = 0;
  double high = 13;
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    (ProbabilityWithin(middle, wanted) < 0.95 ? low : high) = middle;
  }
  return high;
}

Estimate EstimateMean(std::span<const double> values) {
  Estimate estimate{.mean = MeanOf(values), .half_width = std::nullopt};
  if (values.size() < 2) return estimate;
  const auto count = static_cast<double>(values.size());
  estimate.half_width = StudentT95(count - 1) * std::sqrt(VarianceOf(values, estimate.mean) / count);
  return estimate;
}

Estimate EstimateDifference(std::span<const double> before, std::span<const double> after, Sampling sampling) {
  const double mean_before = MeanOf(before);
  const double mean_after = MeanOf(after);
  Estimate estimate{.mean = mean_after - mean_before, .half_width = std::nullopt};
  if (before.size() < 2 || after.size() < 2) return estimate;
  const auto count = [&](std::span<const double> values, double mean) {
    return sampling == Sampling::kSeries ? IndependentCount(values, mean) : static_cast<double>(values.size());
  };
  const double count_before = count(before, mean_before);
  const double count_after = count(after, mean_after);
  const double error_before = VarianceOf(before, mean_before) / count_before;
  const double error_after = VarianceOf(after, mean_after) / count_after;
  const double error = error_before + error_after;
  if (error == 0) {
    estimate.half_width = 0;
    return estimate;
  }
  // Welch and Satterthwaite.
  const double degrees =
      error * error /
      (error_before * error_before / (count_before - 1) + error_after * error_after / (count_after - 1));
  estimate.half_width = StudentT95(degrees) * std::sqrt(error);
  return estimate;
}

}  // namespace attnd::load
