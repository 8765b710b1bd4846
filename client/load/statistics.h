// How sure one can be of means and of differences between them.
#ifndef ATTND_CLIENT_LOAD_STATISTICS_H_
#define ATTND_CLIENT_LOAD_STATISTICS_H_

#include <optional>
#include <span>

namespace attnd::load {

// A mean and half of its 95 % confidence interval by Student's t; no interval of fewer than
// two values.
struct Estimate {
  double mean = 0;
  std::optional<double> half_width;
};
Estimate EstimateMean(std::span<const double> values);

// t such that a t-distributed value of that many degrees of freedom (> 0, not only whole
// ones) lies in -t..t with 95 % probability.
double StudentT95(double degrees);

enum class Sampling {
  // Values that have nothing to do with each other, such as those of repetitions.
  kIndependent,
  // Values in order of time, such as those of a run's seconds: they count as fewer the more
  // each resembles the one before.
  kSeries,
};

// Mean of `after` minus mean of `before`, by Welch's t: variances may differ. No interval if
// either has fewer than two values.
Estimate EstimateDifference(std::span<const double> before, std::span<const double> after, Sampling sampling);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_STATISTICS_H_
