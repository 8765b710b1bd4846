#include "core/errors.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

TEST(ErrorsTest, FieldErrorsNameTheirField) {
  const absl::Status status = InvalidField("query.shape", "has 1 dimension; 2 or 4 are allowed");
  EXPECT_THAT(status, NamesField(absl::StatusCode::kInvalidArgument, "query.shape"));
  EXPECT_EQ(status.message(), "query.shape: has 1 dimension; 2 or 4 are allowed");
  EXPECT_EQ(RetryAfterOf(status), std::nullopt);
}

TEST(ErrorsTest, OverloadSaysWhenToComeBack) {
  const absl::Status status = Overloaded("queue is full", std::chrono::milliseconds(250));
  EXPECT_THAT(status, IsError(absl::StatusCode::kResourceExhausted, "queue is full"));
  EXPECT_EQ(RetryAfterOf(status), std::chrono::milliseconds(250));
  EXPECT_EQ(FieldOf(status), std::nullopt);
}

}  // namespace
}  // namespace attnd
