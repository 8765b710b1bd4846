// What a server would reply, without one: the engine and both directions of the codec.
#ifndef ATTND_TESTS_UNIT_ATTEND_REPLY_H_
#define ATTND_TESTS_UNIT_ATTEND_REPLY_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "core/attention/attention_job.h"
#include "core/attention/plan.h"
#include "proto/codec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"
#include "tests/support/wire.h"

namespace attnd {

// Fails the test, and returns nothing, if the request is refused.
inline codec::AttendReply ReplyTo(const AttentionRequest& request) {
  static BufferPool pool({});
  auto plan = PlanAttention(request, {});
  EXPECT_THAT(plan, IsOk());
  if (!plan.ok()) return {};
  codec::AttendReply reply;
  const auto done = [&reply](const absl::StatusOr<AttentionResult>& result, const JobTimings&) {
    ASSERT_THAT(result, IsOk());
    const std::string bytes = codec::ToString(codec::EncodeAttendResponse(*result, /*reply_with_values=*/false, "id"));
    auto decoded = codec::DecodeAttendResponse(codec::Pieces(bytes).views());
    ASSERT_THAT(decoded, IsOk());
    reply = *std::move(decoded);
  };
  const auto job = NewAttentionJob(request, *std::move(plan), TestEngine(), &pool, done);
  auto claims = job->Prepare();
  absl::Status status = claims.status();
  while (claims.ok() && *claims > 0) {
    for (int64_t i = 0; i < *claims && status.ok(); ++i) status = job->RunTile(i);
    *claims = job->NextStage();
  }
  job->Done(status, {});
  return reply;
}

}  // namespace attnd

#endif  // ATTND_TESTS_UNIT_ATTEND_REPLY_H_
