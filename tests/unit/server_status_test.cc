#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "core/errors.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/request_metadata.h"
#include "server/status.h"
#include "server/text.h"

namespace attnd {
namespace {

using testing::EndsWith;
using testing::SizeIs;

TEST(ServerStatusTest, KeepsCodeMessageAndDetails) {
  const grpc::Status status = ToGrpcStatus(InvalidField("query.shape", "is empty"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "query.shape: is empty");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "query.shape");
}

TEST(ServerStatusTest, HasNoDetailsForPlainErrors) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("gone")).error_details(), "");
}

TEST(ServerStatusTest, NeverHasAnEmptyMessageForAnError) {
  EXPECT_EQ(ToGrpcStatus(absl::InternalError("")).error_message(), "Internal");
}

TEST(ServerStatusTest, BoundsAndEscapesMessages) {
  const std::string text = ToGrpcStatus(absl::InternalError(std::string(5000, 'x'))).error_message();
  EXPECT_THAT(text, SizeIs(1003));
  EXPECT_THAT(text, EndsWith("xxx..."));
  EXPECT_EQ(ToGrpcStatus(absl::InternalError("a\nb\xff")).error_message(), "a\\x0ab\\xff");
}

TEST(ServerStatusTest, PushesBackOnlyWhenOverloaded) {
  EXPECT_EQ(PushbackOf(Overloaded("full", std::chrono::milliseconds(250))), "250");
  EXPECT_FALSE(PushbackOf(absl::ResourceExhaustedError("too large")).has_value());
}

TEST(ServerStatusTest, NamesCodesAsDashboardsDo) {
  EXPECT_STREQ(CodeName(grpc::StatusCode::OK), "OK");
  EXPECT_STREQ(CodeName(grpc::StatusCode::CANCELLED), "Canceled");
  EXPECT_STREQ(CodeName(grpc::StatusCode::DEADLINE_EXCEEDED), "DeadlineExceeded");
  EXPECT_STREQ(CodeName(grpc::StatusCode::UNKNOWN), "Unknown");
}

TEST(PrintableTest, LeavesNothingThatCouldForgeALogLine) {
  EXPECT_EQ(Printable("plain \"text\"", 100), "plain \"text\"");
  EXPECT_EQ(Printable("a\r\nINFO forged", 100), "a\\x0d\\x0aINFO forged");
  EXPECT_EQ(Printable("0123456789", 4), "0123...");
}

TEST(TraceIdTest, TakesTheIdOfAWellFormedHeaderOnly) {
  const std::string id = "0af7651916cd43dd8448eb211c80319c";
  EXPECT_EQ(TraceIdOf("00-" + id + "-b7ad6b7169203331-01"), id);
  EXPECT_EQ(TraceIdOf(""), "");
  EXPECT_EQ(TraceIdOf("00-" + id), "");
  EXPECT_EQ(TraceIdOf("00-" + std::string(32, 'G') + "-b7ad6b7169203331-01"), "");
}

}  // namespace
}  // namespace attnd
