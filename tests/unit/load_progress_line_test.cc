#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/load/progress_line.h"

namespace attnd::load {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Progress At(double seconds) {
  Progress progress;
  progress.point = {.model = LoadModel::kPoisson, .concurrency = 1, .rate = 500, .end_rate = 0};
  progress.seconds = seconds;
  progress.seconds_left = 70 - seconds;
  progress.rate = 498.2;
  progress.p50 = 0.00123;
  progress.p99 = 0.0045;
  return progress;
}

TEST(DescribeProgressTest, SaysRateLatencyErrorsAndTimeLeft) {
  EXPECT_EQ(DescribeProgress(At(4.3)), "500/s poisson  00:04  498/s  p50 1.23 ms  p99 4.50 ms  0 failed  01:06 left");
}

TEST(DescribeProgressTest, SaysThatARunWarmsUp) {
  Progress progress = At(0.5);
  progress.warming_up = true;
  EXPECT_THAT(DescribeProgress(progress), HasSubstr("500/s poisson  warm-up  498/s"));
}

TEST(DescribeProgressTest, LeavesOutLatenciesOfNoCalls) {
  Progress progress = At(1);
  progress.p50 = progress.p99 = 0;
  EXPECT_THAT(DescribeProgress(progress), Not(HasSubstr("p50")));
}

TEST(DescribeProgressTest, FitsATerminal) {
  Progress progress = At(35999);
  progress.point = {.model = LoadModel::kRamp, .concurrency = 1, .rate = 1234.56, .end_rate = 98765.4};
  progress.failed = 1234567890;
  progress.seconds_left = 1e7;
  EXPECT_LT(DescribeProgress(progress).size(), 80);
}

TEST(ProgressLineTest, IsWrittenOverOnATerminal) {
  std::ostringstream out;
  {
    ProgressLine line(&out, /*terminal=*/true);
    line.Show(At(1));
    line.Show(At(2));
  }
  EXPECT_EQ(out.str(), "\r\x1b[K" + DescribeProgress(At(1)) + "\r\x1b[K" + DescribeProgress(At(2)) + "\r\x1b[K");
}

TEST(ProgressLineTest, MarksFailuresOnATerminalOnly) {
  Progress progress = At(6);
  progress.failed = 3;
  std::ostringstream terminal;
  ProgressLine(&terminal, true).Show(progress);
  EXPECT_THAT(terminal.str(), HasSubstr("\x1b[31m3 failed\x1b[0m"));
  std::ostringstream file;
  ProgressLine(&file, false).Show(progress);
  EXPECT_EQ(file.str(), DescribeProgress(progress) + "\n");
}

TEST(ProgressLineTest, IsALineEveryFiveSecondsElsewhere) {
  std::ostringstream out;
  ProgressLine line(&out, /*terminal=*/false);
  for (int quarter = 0; quarter <= 50; ++quarter) line.Show(At(quarter * 0.25));
  EXPECT_EQ(out.str(), DescribeProgress(At(5)) + "\n" + DescribeProgress(At(10)) + "\n");
  // The next run.
  for (int quarter = 0; quarter <= 20; ++quarter) line.Show(At(quarter * 0.25));
  EXPECT_EQ(out.str(),
            DescribeProgress(At(5)) + "\n" + DescribeProgress(At(10)) + "\n" + DescribeProgress(At(5)) + "\n");
}

}  // namespace
}  // namespace attnd::load
