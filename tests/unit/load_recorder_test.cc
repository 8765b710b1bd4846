#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "client/load/recorder.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::Key;

class LoadRecorderTest : public ::testing::Test {
 protected:
  LoadRecorderTest() : works_(2) {
    works_[0].name = "small";
    works_[0].flops = 10;
    works_[1].name = "large";
    works_[1].flops = 1000;
    const grpc::Slice bytes("12345");
    works_[1].message = grpc::ByteBuffer(&bytes, 1);
  }

  [[nodiscard]] Recorder MakeRecorder() const { return Recorder(works_, begin_, milliseconds(20), 100); }

  // Meant for `intended` after the beginning; sent 1 ms later.
  [[nodiscard]] CallRecord MakeCall(Duration intended, Duration response) const {
    CallRecord call;
    call.intended = begin_ + intended;
    call.first_sent = call.sent = call.intended + milliseconds(1);
    call.done = call.intended + response;
    call.measured = true;
    call.response_bytes = 7;
    return call;
  }

  const Time begin_ = Clock::Real().Now();
  std::vector<Work> works_;
};

TEST_F(LoadRecorderTest, ResponseServiceAndDelayAreOfAnsweredCalls) {
  Recorder recorder = MakeRecorder();
  recorder.Record(MakeCall(milliseconds(0), milliseconds(10)));
  CallRecord failed = MakeCall(milliseconds(1), milliseconds(500));
  failed.status = {grpc::StatusCode::INTERNAL, "first"};
  recorder.Record(failed);
  failed.status = {grpc::StatusCode::INTERNAL, "second"};
  recorder.Record(failed);
  const RunResult result = recorder.Result(2);
  EXPECT_EQ(result.calls, 3);
  EXPECT_EQ(result.answered, 1);
  EXPECT_EQ(result.good, 1);
  EXPECT_DOUBLE_EQ(result.response.max(), 0.010);
  EXPECT_DOUBLE_EQ(result.service.max(), 0.009);
  EXPECT_DOUBLE_EQ(result.send_delay.max(), 0.001);
  EXPECT_THAT(result.statuses, ElementsAre(Key("INTERNAL"), Key("OK")));
  EXPECT_EQ(result.statuses.at("INTERNAL").calls, 2);
  EXPECT_EQ(result.statuses.at("INTERNAL").first_message, "first");
  EXPECT_EQ(result.response_bytes, 7);
  EXPECT_EQ(result.flops, 10);
  EXPECT_EQ(recorder.arrivals().size(), 3);
}

TEST_F(LoadRecorderTest, CallsThatRanOutOfTimeTookAtLeastThatLong) {
  Recorder recorder = MakeRecorder();
  recorder.Record(MakeCall(milliseconds(0), milliseconds(5)));
  CallRecord late = MakeCall(milliseconds(1500), milliseconds(20));
  late.status = {grpc::StatusCode::DEADLINE_EXCEEDED, "no answer in time"};
  recorder.Record(late);
  CallRecord refused = MakeCall(milliseconds(1), milliseconds(500));
  refused.status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"};
  recorder.Record(refused);
  const RunResult result = recorder.Result(2);
  EXPECT_EQ(result.response.count(), 2);
  EXPECT_DOUBLE_EQ(result.response.max(), 0.020);
  EXPECT_EQ(result.service.count(), 1);
  EXPECT_EQ(result.works[0].response.count(), 2);
  EXPECT_EQ(result.intervals[0].response.count(), 1);
  EXPECT_EQ(result.intervals[1].response.count(), 1);
  EXPECT_EQ(result.answered, 1);
  // They are not good, however short the time they were given.
  EXPECT_EQ(result.good, 1);
  EXPECT_EQ(result.calls, 3);
}

TEST_F(LoadRecorderTest, CallsGivenUpAreCountedApart) {
  Recorder sum = MakeRecorder();
  for (const int waited : {300, 200}) {
    Recorder part = MakeRecorder();
    part.RecordGivenUp(milliseconds(waited));
    part.RecordGivenUp(milliseconds(10));
    sum.Add(part);
  }
  const RunResult result = sum.Result(1);
  EXPECT_EQ(result.given_up, 4);
  EXPECT_DOUBLE_EQ(result.longest_given_up, 0.3);
  EXPECT_EQ(result.calls, 0);
  EXPECT_EQ(result.response.count(), 0);
}

TEST_F(LoadRecorderTest, AfterRetriesServiceIsOfTheLastAttempt) {
  Recorder recorder = MakeRecorder();
  CallRecord call = MakeCall(milliseconds(0), milliseconds(100));
  call.sent += milliseconds(50);
  call.retries = 2;
  call.pushbacks = 1;
  recorder.Record(call);
  const RunResult result = recorder.Result(1);
  EXPECT_DOUBLE_EQ(result.service.max(), 0.049);
  EXPECT_DOUBLE_EQ(result.send_delay.max(), 0.001);
  EXPECT_EQ(result.retries, 2);
  EXPECT_EQ(result.pushbacks, 1);
  EXPECT_EQ(result.good, 0);
}

TEST_F(LoadRecorderTest, WhatIsLeftOfTheServiceTimeIsTheRest) {
  Recorder recorder = MakeRecorder();
  CallRecord call = MakeCall(milliseconds(0), milliseconds(11));
  call.timings = ServerTimings{milliseconds(1), milliseconds(2), milliseconds(4)};
  recorder.Record(call);
  // A server's clock is not ours.
  call.timings = ServerTimings{milliseconds(1), milliseconds(2), milliseconds(40)};
  recorder.Record(call);
  const RunResult result = recorder.Result(1);
  EXPECT_DOUBLE_EQ(result.queue.max(), 0.001);
  EXPECT_DOUBLE_EQ(result.gather.max(), 0.002);
  EXPECT_DOUBLE_EQ(result.compute.max(), 0.040);
  EXPECT_DOUBLE_EQ(result.rest.max(), 0.003);
  EXPECT_EQ(result.rest.min(), 0);
}

TEST_F(LoadRecorderTest, AnswersBelongToTheSecondTheyCameInAndLatenciesToThatTheyWereMeantFor) {
  Recorder recorder = MakeRecorder();
  recorder.Record(MakeCall(milliseconds(900), milliseconds(1200)));
  recorder.Record(MakeCall(milliseconds(1500), seconds(30)));
  const RunResult result = recorder.Result(2.5);
  ASSERT_EQ(result.intervals.size(), 3);
  EXPECT_EQ(result.intervals[0].response.count(), 1);
  EXPECT_EQ(result.intervals[0].answered, 0);
  EXPECT_EQ(result.intervals[1].response.count(), 1);
  EXPECT_EQ(result.intervals[2].answered, 1);
  EXPECT_DOUBLE_EQ(result.intervals[2].begin, 2);
  EXPECT_EQ(result.answered, 2);
  EXPECT_EQ(recorder.last_answer(), milliseconds(31'500));
}

TEST_F(LoadRecorderTest, WarmUpIsSeenLiveOnly) {
  Recorder recorder = MakeRecorder();
  CallRecord call = MakeCall(-milliseconds(100), milliseconds(5));
  call.measured = false;
  recorder.Record(call);
  LiveCounts live = recorder.TakeLive();
  EXPECT_EQ(live.answered, 1);
  EXPECT_EQ(live.response.count(), 1);
  live = recorder.TakeLive();
  EXPECT_EQ(live.answered, 1);
  EXPECT_EQ(live.response.count(), 0);
  EXPECT_EQ(recorder.Result(1).calls, 0);
}

TEST_F(LoadRecorderTest, ThreadsAddUp) {
  Recorder sum = MakeRecorder();
  for (size_t work = 0; work < 2; ++work) {
    Recorder part = MakeRecorder();
    CallRecord call = MakeCall(seconds(static_cast<int>(work)), milliseconds(10));
    call.work = work;
    call.timings.emplace();
    part.Record(call);
    call.status = {grpc::StatusCode::UNAVAILABLE, work == 0 ? "" : "gone"};
    part.Record(call);
    sum.Add(part);
  }
  const RunResult result = sum.Result(2);
  EXPECT_EQ(result.calls, 4);
  EXPECT_EQ(result.answered, 2);
  EXPECT_EQ(result.good, 2);
  EXPECT_EQ(result.flops, 1010);
  EXPECT_EQ(result.request_bytes, 5);
  EXPECT_EQ(result.response_bytes, 14);
  EXPECT_EQ(result.statuses.at("UNAVAILABLE").calls, 2);
  EXPECT_EQ(result.statuses.at("UNAVAILABLE").first_message, "gone");
  ASSERT_EQ(result.works.size(), 2);
  EXPECT_EQ(result.works[0].name, "small");
  EXPECT_EQ(result.works[1].calls, 2);
  EXPECT_EQ(result.works[1].response.count(), 1);
  ASSERT_EQ(result.intervals.size(), 2);
  EXPECT_EQ(result.intervals[1].answered, 1);
  EXPECT_EQ(result.intervals[1].failed, 1);
  EXPECT_EQ(result.rest.count(), 2);
  EXPECT_EQ(sum.arrivals().size(), 4);
}

}  // namespace
}  // namespace attnd::load
