#include <gtest/gtest.h>

#include "client/load/server_metrics.h"
#include "tests/support/status_matchers.h"

namespace attnd::load {
namespace {

constexpr char kPage[] = R"(# HELP process_cpu_seconds_total CPU time
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
process_resident_memory_bytes 1.5e+08
grpc_server_handled_total{grpc_code="OK",grpc_method="Attend",grpc_service="attnd.v1.AttentionService"} 100
grpc_server_handled_total{grpc_code="ResourceExhausted",grpc_service="attnd.v1.AttentionService"} 7
grpc_server_handled_total{grpc_code="OK",grpc_method="M",grpc_service="attnd.v1.AttentionService"} 3 1700000000000
grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="grpc.health.v1.Health"} 50
grpc_server_handled_total_other 1
odd{label="a } b"} 4
nothing
)";

TEST(LoadMetricsTest, ReadsCountersOfTheAttentionService) {
  const auto counters = ParseServerMetrics(kPage);
  ASSERT_THAT(counters, IsOk());
  EXPECT_EQ(counters->cpu_seconds, 12.5);
  EXPECT_EQ(counters->resident_bytes, 1.5e8);
  EXPECT_EQ(counters->handled, 110);
  EXPECT_EQ(counters->refused, 7);
}

TEST(LoadMetricsTest, UseIsWhatCameToIt) {
  const ServerUse use = UseBetween({1, 100, 5, 1e6}, {3.5, 150, 6, 2e6});
  EXPECT_EQ(use.cpu_seconds, 2.5);
  EXPECT_EQ(use.handled, 50);
  EXPECT_EQ(use.refused, 1);
  EXPECT_EQ(use.resident_bytes, 2e6);
}

TEST(LoadMetricsTest, ARestartedServerHasNoNegativeUse) {
  EXPECT_EQ(UseBetween({10, 100, 0, 0}, {1, 5, 0, 0}).cpu_seconds, 0);
}

TEST(LoadMetricsTest, OtherPagesAreRefused) {
  EXPECT_THAT(ParseServerMetrics("<html>hello</html>\n{} 3\n{ 4\nx{ 5"),
              IsError(absl::StatusCode::kInvalidArgument, "no metrics of attnd"));
  EXPECT_THAT(ParseServerMetrics(""), IsError(absl::StatusCode::kInvalidArgument, "no metrics of attnd"));
}

TEST(LoadMetricsTest, NobodyThereIsAnError) {
  EXPECT_THAT(ScrapeServers({"127.0.0.1:1"}), IsError(absl::StatusCode::kUnavailable, "no metrics at 127.0.0.1:1 ("));
  EXPECT_THAT(ScrapeServers({"nowhere"}),
              IsError(absl::StatusCode::kUnavailable, "no metrics at nowhere (not HOST:PORT)"));
  EXPECT_THAT(ScrapeServers({}), IsOk());
}

}  // namespace
}  // namespace attnd::load
