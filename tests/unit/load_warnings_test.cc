#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "client/load/client_cost.h"
#include "client/load/run_result.h"
#include "client/load/run_warnings.h"

namespace attnd::load {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Nothing to complain of.
RunResult GoodRun() {
  RunResult run;
  run.point.model = LoadModel::kConstant;
  run.point.rate = 100;
  for (int i = 0; i < 1000; ++i) {
    run.response.Record(milliseconds(10));
    run.send_delay.Record(microseconds(5));
  }
  run.calls = run.answered = 1000;
  run.stability = {true, 0.01, 0.02};
  run.arrivals = ArrivalCheck{100, 100, 0, 0, 0.05};
  run.client.busiest_thread = 0.3;
  return run;
}

TEST(LoadWarningsTest, GoodRunsHaveNone) { EXPECT_THAT(WarningsOf(GoodRun(), 0), IsEmpty()); }

TEST(LoadWarningsTest, TellOfABusyClient) {
  RunResult run = GoodRun();
  run.client.busiest_thread = 0.93;
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(AllOf(HasSubstr("client was the bottleneck"), HasSubstr("93 %"))));
}

TEST(LoadWarningsTest, TellOfATakingHost) {
  RunResult run = GoodRun();
  run.client.stolen = 0.01;
  EXPECT_THAT(WarningsOf(run, 0), IsEmpty());
  run.client.stolen = 0.14;
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(AllOf(HasSubstr("host took 14 %"), HasSubstr("steal"))));
}

TEST(MachineTimeTest, IsReadFromProcStat) {
  const MachineTime time = ParseMachineTime("cpu  10 20 30 400 5 6 7 80 9 1\ncpu0 1 2 3 4 5 6 7 8 9 1\n");
  EXPECT_EQ(time.stolen, 80);
  EXPECT_EQ(time.all, 558);
  for (const char* other : {"", "cpu", "cpu  1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu  a b c d e f g h"}) {
    EXPECT_EQ(ParseMachineTime(other).all, 0) << other;
  }
}

TEST(LoadWarningsTest, TellOfLateSends) {
  RunResult run = GoodRun();
  for (int i = 0; i < 20; ++i) run.send_delay.Record(milliseconds(2));
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(AllOf(HasSubstr("sent late"), HasSubstr("2 ms"))));
  // A caller of a closed loop sends when it can.
  run.point.model = LoadModel::kClosed;
  run.arrivals.reset();
  EXPECT_THAT(WarningsOf(run, 0), IsEmpty());
}

TEST(LoadWarningsTest, TellOfARateThatWasNotReached) {
  RunResult run = GoodRun();
  run.arrivals->rate_sent = 95;
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(AllOf(HasSubstr("95/s"), HasSubstr("100/s"))));
  // Of a thousand calls at random, that is chance.
  run.point.model = LoadModel::kPoisson;
  EXPECT_THAT(WarningsOf(run, 0), IsEmpty());
}

TEST(LoadWarningsTest, TellOfABacklog) {
  EXPECT_THAT(WarningsOf(GoodRun(), 123), ElementsAre(AllOf(HasSubstr("fell behind"), HasSubstr("123"))));
}

TEST(LoadWarningsTest, TellOfCallsGivenUpThatHadWaitedLong) {
  RunResult run = GoodRun();
  run.interrupted = true;
  run.given_up = 13;
  run.longest_given_up = 0.009;
  EXPECT_THAT(WarningsOf(run, 0), IsEmpty());
  run.longest_given_up = 3;
  EXPECT_THAT(WarningsOf(run, 0),
              ElementsAre("13 calls that were due were given up unanswered, after up to 3.00 s, when the run was "
                          "stopped: they are in no percentile."));
  run.given_up = 1;
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(HasSubstr("1 call that was due was given up")));
}

TEST(LoadWarningsTest, TellWhyARunWasNotStable) {
  RunResult run = GoodRun();
  run.stability = {false, 0.25, 0.04};
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(AllOf(HasSubstr("not stable"), HasSubstr("25 %"), HasSubstr("4 %"))));
  run.stability = {};
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(HasSubstr("too short")));
  run.stability = {false, 0, 0};
  EXPECT_THAT(WarningsOf(run, 0), ElementsAre(HasSubstr("no call was answered")));
  run.interrupted = true;
  EXPECT_THAT(WarningsOf(run, 0), IsEmpty());
}

}  // namespace
}  // namespace attnd::load
