// What a thread of the load driver holds back, and what it counts.
#include "client/load/load_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "client/channel.h"
#include "tests/support/fake_attention.h"
#include "tests/support/load_plans.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ThreadShare ShareOf(const FakeAttention& server) {
  ThreadShare share;
  share.endpoints.emplace_back(server.address(), MakeChannel(server.address(), {.own_connection = true}));
  return share;
}

// Looks again and again, for some seconds at most.
template <typename Condition>
bool Becomes(const Condition& condition) {
  const Time end = Clock::Real().Now() + seconds(20);
  while (!condition()) {
    if (Clock::Real().Now() > end) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

TEST(LoadThreadTest, CallsBeyondThoseHeldBackFail) {
  FakeAttentionOptions options;
  options.service_time = milliseconds(400);
  FakeAttention server(options);
  RunPlan plan = OpenLoop(LoadModel::kConstant, 1000, seconds(10));
  plan.calls = 20;
  const std::vector<Work> works = {MakeWork()};
  ThreadShare share = ShareOf(server);
  share.max_in_flight = 1;
  share.max_kept = 2;
  RunCourse course(plan, Clock::Real().Now());
  LoadThread thread(share, works, nullptr, &course);
  thread.Start();
  EXPECT_TRUE(Becomes([&] { return thread.finished(); }));
  EXPECT_EQ(thread.TakeLive().failed, 17);
  thread.Join();
  const RunResult run = thread.recorder().Result(1);
  EXPECT_EQ(run.calls, 20);
  EXPECT_EQ(run.answered, 3);
  EXPECT_EQ(run.statuses.at("UNAVAILABLE").calls, 17);
  EXPECT_EQ(run.statuses.at("UNAVAILABLE").first_message, "not sent, as 2 calls waited for others to be answered");
}

TEST(LoadThreadTest, CallsThatAreNotYetDueAreNotOutstanding) {
  FakeAttention server(FakeAttentionOptions{});
  const RunPlan plan = OpenLoop(LoadModel::kConstant, 0.01, seconds(600));
  const std::vector<Work> works = {MakeWork()};
  ThreadShare share = ShareOf(server);
  share.max_in_flight = 10;
  RunCourse course(plan, Clock::Real().Now());
  LoadThread thread(share, works, nullptr, &course);
  thread.Start();
  EXPECT_TRUE(Becomes([&] { return thread.TakeLive().answered == 1; }));
  // The next one is made ready meanwhile, for a hundred seconds later.
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(thread.outstanding(), 0);
    std::this_thread::sleep_for(milliseconds(1));
  }
  course.Stop();
  EXPECT_TRUE(Becomes([&] { return thread.finished(); }));
  thread.Join();
  EXPECT_EQ(thread.recorder().Result(1).given_up, 0);
}

}  // namespace
}  // namespace attnd::load
