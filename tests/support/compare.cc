#include "tests/support/compare.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <sstream>

#include "core/attention/tensor.h"

namespace attnd {
namespace {

// Infinite where one side is NaN or infinite and the other is something else.
double Difference(double actual, double expected) {
  if (std::isnan(actual) && std::isnan(expected)) return 0;
  if (actual == expected) return 0;
  const double difference = std::abs(actual - expected);
  return std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
}

testing::AssertionResult SizesAgree(size_t actual, size_t expected) {
  if (actual == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "has " << actual << " elements, expected " << expected;
}

}  // namespace

std::string IndexString(int64_t i, std::span<const int64_t> shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    const int64_t extent = std::max<int64_t>(1, shape[d]);
    index[d] = i % extent;
    i /= extent;
  }
  return ShapeString(index);
}

testing::AssertionResult AlmostEqual(std::span<const float> actual, std::span<const double> expected, double tolerance,
                                     std::span<const int64_t> shape) {
  if (auto sizes = SizesAgree(actual.size(), expected.size()); !sizes) return sizes;
  double worst = -1;
  size_t at = 0;
  int64_t wrong = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = Difference(actual[i], expected[i]);
    wrong += difference > tolerance ? 1 : 0;
    if (difference > worst) {
      worst = difference;
      at = i;
    }
  }
  if (wrong == 0) return testing::AssertionSuccess();
  std::ostringstream text;
  text.precision(9);
  text << wrong << " of " << actual.size() << " elements are off; worst at "
       << IndexString(static_cast<int64_t>(at), shape) << " of " << ShapeString(shape) << ": " << actual[at]
       << ", expected " << expected[at] << ", difference " << worst << ", allowed " << tolerance;
  return testing::AssertionFailure() << text.str();
}

testing::AssertionResult SameBits(std::span<const float> actual, std::span<const float> expected,
                                  std::span<const int64_t> shape) {
  if (auto sizes = SizesAgree(actual.size(), expected.size()); !sizes) return sizes;
  int64_t wrong = 0;
  size_t first = 0;
  for (size_t i = actual.size(); i-- > 0;) {
    if (std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
    ++wrong;
    first = i;
  }
  if (wrong == 0) return testing::AssertionSuccess();
  std::ostringstream text;
  text << std::hexfloat << wrong << " of " << actual.size() << " elements differ in bits; first at "
       << IndexString(static_cast<int64_t>(first), shape) << " of " << ShapeString(shape) << ": " << actual[first]
       << ", expected " << expected[first];
  return testing::AssertionFailure() << text.str();
}

double WorstError(std::span<const float> actual, std::span<const double> expected) {
  double worst = 0;
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (std::isfinite(difference)) worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace attnd
