// Comparisons of arrays that say where they differ.
#ifndef ATTND_TESTS_SUPPORT_COMPARE_H_
#define ATTND_TESTS_SUPPORT_COMPARE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace attnd {

// "[0, 2, 5]": the indices of flat element `i` of a row-major array of that shape.
std::string IndexString(int64_t i, std::span<const int64_t> shape);

// Succeeds if every |actual - expected| <= tolerance. NaN equals NaN, an infinity equals
// itself. Failure names the worst element.
testing::AssertionResult AlmostEqual(std::span<const float> actual, std::span<const double> expected, double tolerance,
                                     std::span<const int64_t> shape);

// Succeeds if the bits are the same. Failure names the first difference.
testing::AssertionResult SameBits(std::span<const float> actual, std::span<const float> expected,
                                  std::span<const int64_t> shape);

// Largest |actual - expected| where both are finite.
double WorstError(std::span<const float> actual, std::span<const double> expected);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_COMPARE_H_
