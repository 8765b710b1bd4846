#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/load/run_result.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

TEST(FormatSecondsTest, ShowsThreeDigitsInTheLargestUnitThatFits) {
  EXPECT_EQ(FormatSeconds(0), "0 s");
  EXPECT_EQ(FormatSeconds(89e-9), "89.0 ns");
  EXPECT_EQ(FormatSeconds(567.4e-6), "567 us");
  EXPECT_EQ(FormatSeconds(0.02345), "23.4 ms");
  EXPECT_EQ(FormatSeconds(0.0099961), "10.0 ms");
  EXPECT_EQ(FormatSeconds(0.9996), "1.00 s");
  EXPECT_EQ(FormatSeconds(0.99949), "999 ms");
  EXPECT_EQ(FormatSeconds(4000), "4000 s");
  EXPECT_EQ(FormatSeconds(0.2e-9), "0.200 ns");
}

TEST(FormatNumberTest, ShowsThreeDigits) {
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(0.074), "0.0740");
  EXPECT_EQ(FormatNumber(0.99999), "1.00");
  EXPECT_EQ(FormatNumber(12.345), "12.3");
  EXPECT_EQ(FormatNumber(1234.5), "1234");
  EXPECT_EQ(FormatNumber(9999.6), "10.0k");
  EXPECT_EQ(FormatNumber(1234567), "1.23M");
}

TEST(FormatBytesTest, CountsInThousands) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1536), "1.54 kB");
  EXPECT_EQ(FormatBytes(12.3e6), "12.3 MB");
}

TEST(FormatPercentTest, NeitherLosesNorHidesASmallShare) {
  EXPECT_EQ(FormatPercent(0), "0 %");
  EXPECT_EQ(FormatPercent(0.001), "0.1 %");
  EXPECT_EQ(FormatPercent(0.00012), "0.012 %");
  EXPECT_EQ(FormatPercent(0.25), "25 %");
  EXPECT_EQ(FormatPercent(0.99999), "99.999 %");
  EXPECT_EQ(FormatPercent(1), "100 %");
  EXPECT_EQ(FormatPercent(1.5), "150 %");
}

TEST(FormatCountTest, SeparatesThousands) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-1000), "-1,000");
}

TEST(FormatColumnsTest, AlignsTheFirstColumnToTheLeftAndOthersToTheRight) {
  EXPECT_EQ(FormatColumns({{"a", "x", "long title"}, {"  ± bc", "12", ""}, {}, {"d"}}),
            "a        x  long title\n"
            "  ± bc  12\n"
            "\n"
            "d\n");
}

TEST(WrapTest, BreaksBetweenWords) {
  EXPECT_EQ(Wrap("  one two three", 9, 4), "  one two\n    three");
  EXPECT_EQ(Wrap("averyveryverylongword b", 9, 0), "averyveryverylongword\nb");
  EXPECT_EQ(Wrap("about 0.1 % more", 9, 0), "about\n0.1 %\nmore");
  EXPECT_EQ(Wrap("", 9, 0), "");
}

TEST(DescribeTest, NamesPointsOfLoad) {
  EXPECT_EQ(Describe({.model = LoadModel::kClosed, .concurrency = 8}), "8 in flight");
  EXPECT_EQ(Describe({.model = LoadModel::kPoisson, .rate = 500}), "500/s poisson");
  EXPECT_EQ(Describe({.model = LoadModel::kConstant, .rate = 0.5}), "0.5/s constant");
  EXPECT_EQ(Describe({.model = LoadModel::kRamp, .rate = 100, .end_rate = 900}), "100 to 900/s");
  EXPECT_EQ(NameOf(LoadModel::kRamp), "ramp");
}

}  // namespace
}  // namespace attnd::load
