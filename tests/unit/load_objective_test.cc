#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

#include "client/load/objective.h"
#include "tests/support/status_matchers.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// 1 ms, 2 ms, ... for each answered call.
RunResult RunOf(int64_t calls, int64_t answered) {
  RunResult run;
  run.point = {.model = LoadModel::kConstant, .concurrency = 1, .rate = 500, .end_rate = 0};
  run.calls = calls;
  run.answered = answered;
  run.seconds = 2;
  for (int64_t i = 1; i <= answered; ++i) {
    run.response.Record(milliseconds(i));
    run.service.Record(milliseconds(1));
  }
  return run;
}

TEST(ObjectiveTest, IsReadFromText) {
  const auto objective = ParseObjective("p99.9=1.5s,errors=2%");
  ASSERT_THAT(objective, IsOk());
  EXPECT_DOUBLE_EQ(objective->percentile, 0.999);
  EXPECT_EQ(objective->latency, milliseconds(1500));
  EXPECT_DOUBLE_EQ(objective->errors, 0.02);
  EXPECT_EQ(objective->text, "p99.9=1.5s,errors=2%");
}

TEST(ObjectiveTest, AllowsAThousandthOfErrorsUnlessTold) {
  EXPECT_DOUBLE_EQ(ParseObjective("p50=250us")->errors, 0.001);
  EXPECT_DOUBLE_EQ(ParseObjective("errors=0, p50=250us")->errors, 0);
}

TEST(ObjectiveTest, SaysWhichPartIsWrongAndWhatIsAllowed) {
  EXPECT_THAT(ParseObjective("p99=20"), IsError(kInvalid, "'p99=20': '20' is not a time such as 250us, 20ms or 1.5s"));
  EXPECT_THAT(ParseObjective("p99"), IsError(kInvalid, "'p99' is not p99=TIME or errors=SHARE"));
  EXPECT_THAT(ParseObjective("latency=20ms"), IsError(kInvalid, "'latency' is not a percentile such as p99"));
  EXPECT_THAT(ParseObjective("p100=20ms"), IsError(kInvalid, "'p100' is not a percentile"));
  EXPECT_THAT(ParseObjective("p99=-1ms"), IsError(kInvalid, "'-1ms' is not a time"));
  EXPECT_THAT(ParseObjective("p99=0ms"), IsError(kInvalid, "'0ms' is not a time"));
  EXPECT_THAT(ParseObjective("p99=nanms"), IsError(kInvalid, "'nanms' is not a time"));
  EXPECT_THAT(ParseObjective("p99=1ms,errors=200%"), IsError(kInvalid, "'200%' is not a share of calls"));
  EXPECT_THAT(ParseObjective("errors=1%"), IsError(kInvalid, "an objective without a latency"));
  EXPECT_THAT(ParseObjective("p99=1ms,p50=1ms"), IsError(kInvalid, "one percentile and one share"));
  EXPECT_THAT(ParseObjective(""), IsError(kInvalid, "'' is not p99=TIME"));
}

TEST(ObjectiveTest, HoldsUpToItsLimits) {
  const Objective objective = ParseObjective("p50=51ms,errors=1%").value();
  EXPECT_TRUE(Holds(objective, RunOf(100, 99)));
  EXPECT_FALSE(Holds(objective, RunOf(100, 98)));
  EXPECT_FALSE(Holds(objective, RunOf(104, 104)));
}

TEST(ObjectiveTest, DoesNotHoldWhereMoreCallsFailedThanThePercentileLeavesOver) {
  const Objective objective = ParseObjective("p90=1s,errors=50%").value();
  EXPECT_TRUE(Holds(objective, RunOf(100, 90)));
  RunResult run = RunOf(100, 89);
  EXPECT_FALSE(Holds(objective, run));
  // It ran out of time, and so is known to have taken longer.
  run.response.Record(milliseconds(500));
  EXPECT_TRUE(Holds(objective, run));
}

TEST(ObjectiveTest, DoesNotHoldIfNothingIsAnswered) {
  EXPECT_FALSE(Holds(ParseObjective("p50=50ms,errors=100%").value(), RunOf(10, 0)));
  EXPECT_FALSE(Holds(ParseObjective("p50=50ms").value(), RunOf(0, 0)));
}

TEST(FailIfTest, IsReadFromText) {
  const auto condition = ParseFailIf("service.p99.9 > 20ms");
  ASSERT_THAT(condition, IsOk());
  EXPECT_EQ(condition->measure, "service.p99.9");
  EXPECT_TRUE(condition->above);
  EXPECT_DOUBLE_EQ(condition->value, 0.02);
  EXPECT_DOUBLE_EQ(ParseFailIf("errors>0.1%")->value, 0.001);
  EXPECT_DOUBLE_EQ(ParseFailIf("errors>0.001")->value, 0.001);
  EXPECT_FALSE(ParseFailIf("throughput<500")->above);
}

TEST(FailIfTest, SaysWhichPartIsWrongAndWhatIsAllowed) {
  EXPECT_THAT(ParseFailIf("p99"), IsError(kInvalid, "'p99' is not MEASURE>VALUE or MEASURE<VALUE"));
  EXPECT_THAT(ParseFailIf("p98>1ms"), IsError(kInvalid, "'p98' is not p50, p90, p95, p99, p99.9, max or mean"));
  EXPECT_THAT(ParseFailIf("service.errors>1%"), IsError(kInvalid, "'service.errors' is not p50"));
  EXPECT_THAT(ParseFailIf("p99>20"), IsError(kInvalid, "'20' is not a time"));
  EXPECT_THAT(ParseFailIf("errors>2"), IsError(kInvalid, "'2' is not a share of calls"));
  EXPECT_THAT(ParseFailIf("throughput<5ms"), IsError(kInvalid, "'5ms' is not a number of calls per second"));
  EXPECT_THAT(ParseFailIf("p99>"), IsError(kInvalid, "'' is not a time"));
}

TEST(FailIfTest, LooksAtTheWorstOfAllRuns) {
  LoadReport report;
  report.runs = {RunOf(100, 100), RunOf(200, 190), RunOf(100, 100)};
  Condition judged = Judge(ParseFailIf("p50>60ms").value(), report);
  EXPECT_TRUE(judged.failed);
  EXPECT_EQ(judged.text, "p50>60ms");
  EXPECT_EQ(judged.detail, "p50 was 95.0 ms at 500/s constant");
  EXPECT_FALSE(Judge(ParseFailIf("p50>96ms").value(), report).failed);

  judged = Judge(ParseFailIf("throughput<60").value(), report);
  EXPECT_TRUE(judged.failed);
  EXPECT_EQ(judged.detail, "throughput was 50.0/s at 500/s constant");
  EXPECT_FALSE(Judge(ParseFailIf("throughput<50").value(), report).failed);

  judged = Judge(ParseFailIf("errors>1%").value(), report);
  EXPECT_TRUE(judged.failed);
  EXPECT_EQ(judged.detail, "errors was 5 % at 500/s constant");
  EXPECT_FALSE(Judge(ParseFailIf("service.p95>1ms").value(), report).failed);
}

TEST(FailIfTest, FailsWhereMoreCallsFailedThanThePercentileLeavesOver) {
  LoadReport report;
  report.runs = {RunOf(1000, 923)};
  const Condition judged = Judge(ParseFailIf("p99>10s").value(), report);
  EXPECT_TRUE(judged.failed);
  EXPECT_EQ(judged.detail, "p99 is not known at 500/s constant: 7.7 % of calls failed");
  EXPECT_FALSE(Judge(ParseFailIf("p90>10s").value(), report).failed);
  EXPECT_TRUE(Judge(ParseFailIf("mean>10s").value(), report).failed);
  EXPECT_TRUE(Judge(ParseFailIf("max>10s").value(), report).failed);
  EXPECT_TRUE(Judge(ParseFailIf("service.p99>10s").value(), report).failed);
  // Those that ran out of time have a response time, if no service time.
  for (int i = 0; i < 77; ++i) report.runs[0].response.Record(milliseconds(5000));
  EXPECT_FALSE(Judge(ParseFailIf("p99>10s").value(), report).failed);
  EXPECT_EQ(Judge(ParseFailIf("p99>1s").value(), report).detail, "p99 was 5.00 s at 500/s constant");
  EXPECT_TRUE(Judge(ParseFailIf("service.p99>10s").value(), report).failed);
}

TEST(FailIfTest, FailsWithoutAValue) {
  LoadReport report;
  EXPECT_EQ(Judge(ParseFailIf("p99>1s").value(), report).detail, "there was no run");
  report.runs = {RunOf(5, 0)};
  const Condition judged = Judge(ParseFailIf("p99>1s").value(), report);
  EXPECT_TRUE(judged.failed);
  EXPECT_EQ(judged.detail, "p99 has no value at 500/s constant: no call was answered");
  EXPECT_EQ(Judge(ParseFailIf("goodput<1").value(), report).detail,
            "goodput has no value at 500/s constant: there was no objective");
}

}  // namespace
}  // namespace attnd::load
