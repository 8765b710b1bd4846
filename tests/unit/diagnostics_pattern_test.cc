#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/attention/diagnostics.h"

namespace attnd {
namespace {

const double kAbove = std::nextafter(0.5, 1.0);

void ExpectPattern(const PatternMasses& masses, Pattern pattern, double score) {
  const HeadPattern found = ClassifyHead(masses);
  EXPECT_EQ(NameOf(found.pattern), NameOf(pattern));
  EXPECT_EQ(found.score, static_cast<float>(score));
}

TEST(ClassifyHeadTest, AMassOverOneHalfDecides) {
  ExpectPattern({.self = kAbove, .evenness = 1}, Pattern::kDiagonal, 0.5);
  ExpectPattern({.previous = kAbove, .evenness = 1}, Pattern::kPrevious, 0.5);
  ExpectPattern({.next = kAbove, .evenness = 1}, Pattern::kNext, 0.5);
  ExpectPattern({.column = kAbove, .column_is_first = true, .evenness = 1}, Pattern::kSink, 0.5);
  ExpectPattern({.column = kAbove, .evenness = 1}, Pattern::kColumn, 0.5);
}

TEST(ClassifyHeadTest, OneHalfDoesNotDecide) {
  ExpectPattern({.self = 0.5}, Pattern::kMixed, 0.5);
  ExpectPattern({.previous = 0.5}, Pattern::kMixed, 0.5);
  ExpectPattern({.next = 0.5}, Pattern::kMixed, 0.5);
  ExpectPattern({.column = 0.5, .column_is_first = true}, Pattern::kMixed, 0.5);
  ExpectPattern({.column = 0.5}, Pattern::kMixed, 0.5);
}

TEST(ClassifyHeadTest, TheLargestMassDecidesAndOfEqualOnesTheFirst) {
  ExpectPattern({.self = 0.6, .previous = 0.7, .next = 0.65, .column = 0.6}, Pattern::kPrevious, 0.7);
  ExpectPattern({.self = 0.75, .column = 0.8, .column_is_first = true}, Pattern::kSink, 0.8);
  ExpectPattern({.self = 1, .column = 1, .column_is_first = true}, Pattern::kDiagonal, 1);
  ExpectPattern({.next = 0.75, .column = 0.75}, Pattern::kNext, 0.75);
}

TEST(ClassifyHeadTest, EvennessTellsUniformFromBroadFromMixed) {
  ExpectPattern({.self = 0.5, .evenness = 1}, Pattern::kUniform, 1);
  ExpectPattern({.evenness = 0.95}, Pattern::kUniform, 0.95);
  ExpectPattern({.evenness = std::nextafter(0.95, 0.0)}, Pattern::kBroad, 0.95);
  ExpectPattern({.evenness = 0.85, .window = 1}, Pattern::kBroad, 0.85);
  ExpectPattern({.self = 0.25, .evenness = std::nextafter(0.85, 0.0)}, Pattern::kMixed, 0.25);
  ExpectPattern({.self = 0.25, .evenness = std::numeric_limits<double>::quiet_NaN()}, Pattern::kMixed, 0.25);
}

TEST(ClassifyHeadTest, LocalHasHalfTheWeightAndTwiceTheShare) {
  ExpectPattern({.window = kAbove}, Pattern::kLocal, 0.5);
  ExpectPattern({.window = 0.5}, Pattern::kMixed, 0);
  ExpectPattern({.previous = 0.3, .window = 0.75, .window_share = 0.375}, Pattern::kLocal, 0.75);
  ExpectPattern({.previous = 0.25, .window = 0.75, .window_share = std::nextafter(0.375, 1.0)}, Pattern::kMixed, 0.25);
}

TEST(ClassifyHeadTest, WithoutARowAHeadIsEmpty) {
  ExpectPattern({.self = 1, .evenness = 1, .empty = true}, Pattern::kEmpty, 0);
}

}  // namespace
}  // namespace attnd
