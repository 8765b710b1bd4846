// The HTTP port.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

#include "tests/support/server_fixture.h"

namespace attnd {
namespace {

using testing::HasSubstr;

TEST(HttpTest, IsHealthyAndReadyWhileServing) {
  const RunningServer server;
  EXPECT_EQ(Http(server.http(), "/healthz").status, 200);
  EXPECT_EQ(Http(server.http(), "/readyz").status, 200);
  EXPECT_EQ(Http(server.http(), "/readyz").body, "ok\n");
}

TEST(HttpTest, KnowsNoOtherPagesAndMethods) {
  const RunningServer server;
  EXPECT_EQ(Http(server.http(), "/").status, 404);
  EXPECT_EQ(Http(server.http(), "/metrics/x").status, 404);
  const HttpReply post = Http(server.http(), "/metrics", "POST");
  EXPECT_EQ(post.status, 405);
  EXPECT_THAT(post.headers, HasSubstr("Allow: GET, HEAD"));
  const HttpReply head = Http(server.http(), "/healthz", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST(HttpTest, CanBeLeftOut) {
  for (const char* http : {"", "off"}) {
    ServerOptions options = TestOptions();
    options.http = http;
    const RunningServer server(options);
    EXPECT_EQ(server.http(), "");
  }
}

TEST(MetricsTest, HaveEverySeriesFromTheStart) {
  const RunningServer server;
  const HttpReply reply = Http(server.http(), "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.headers, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  for (const char* method : {"AttendStream", "MultiHeadAttend", "Merge", "Attend"}) {
    for (const char* code : {"OK", "Canceled", "InvalidArgument", "DeadlineExceeded", "ResourceExhausted",
                             "Unimplemented", "Internal", "Unavailable"}) {
      EXPECT_THAT(reply.body, HasSubstr("grpc_server_handled_total{grpc_code=\"" + std::string(code) +
                                        "\",grpc_method=\"" + method + "\""));
    }
  }
  for (const char* series : {"grpc_server_started_total{grpc_method=\"GetInfo\"",
                             "grpc_server_handling_seconds_bucket{grpc_method=\"Attend\"",
                             "attnd_phase_seconds_bucket{phase=\"queue\"",
                             "attnd_phase_seconds_count{phase=\"gather\"}",
                             "attnd_phase_seconds_count{phase=\"compute\"}",
                             "attnd_phase_seconds_count{phase=\"send\"}",
                             "attnd_queue_jobs 0",
                             "attnd_queue_waiting 0",
                             "attnd_queue_oldest_wait_seconds 0",
                             "attnd_inflight_bytes 0",
                             "attnd_worker_busy_seconds_total",
                             "attnd_flops_total",
                             "attnd_tiles_total",
                             "attnd_empty_rows_total 0",
                             "attnd_non_finite_rows_total 0",
                             "attnd_pool_bytes{state=\"used\"}",
                             "attnd_pool_bytes{state=\"free\"}",
                             "attnd_request_bytes_count 0",
                             "attnd_response_bytes_count 0",
                             "attnd_workers 2",
                             "attnd_build_info{",
                             "process_start_time_seconds",
                             "process_cpu_seconds_total",
                             "process_resident_memory_bytes",
                             "process_open_fds"}) {
    EXPECT_THAT(reply.body, HasSubstr(series));
  }
}

TEST(MetricsTest, CountWhatRequestsDo) {
  const RunningServer server;
  grpc::ClientContext context;
  v1::AttendResponse response;
  ASSERT_TRUE(server.attention().Attend(&context, SmallRequest(), &response).ok());
  const std::string method = R"(grpc_method="Attend",grpc_service="attnd.v1.AttentionService",grpc_type="unary"})";
  EXPECT_EQ(Metric(server.http(), "grpc_server_started_total{" + method), 1);
  EXPECT_EQ(Metric(server.http(), "grpc_server_handled_total{grpc_code=\"OK\"," + method), 1);
  EXPECT_EQ(Metric(server.http(), "grpc_server_handling_seconds_count{" + method), 1);
  // The last; it is known once the client has its answer.
  EXPECT_TRUE(Eventually([&] { return Metric(server.http(), "attnd_phase_seconds_count{phase=\"send\"}") == 1; }));
  for (const char* phase : {"queue", "gather", "compute"}) {
    EXPECT_EQ(Metric(server.http(), "attnd_phase_seconds_count{phase=\"" + std::string(phase) + "\"}"), 1);
  }
  EXPECT_TRUE(Eventually([&] { return Metric(server.http(), "attnd_request_bytes_count") == 1; }));
  EXPECT_EQ(Metric(server.http(), "attnd_request_bytes_sum"), static_cast<double>(SmallRequest().ByteSizeLong()));
  EXPECT_EQ(Metric(server.http(), "attnd_response_bytes_sum"), static_cast<double>(response.ByteSizeLong()));
}

TEST(MetricsTest, CountWhatRefusedRequestsDo) {
  const RunningServer server;
  v1::AttendRequest request = SmallRequest();
  request.mutable_query()->mutable_data()->pop_back();
  for (const auto& [sent, code] :
       {std::pair{request, grpc::StatusCode::INVALID_ARGUMENT}, std::pair{SmallRequest(), grpc::StatusCode::OK}}) {
    grpc::ClientContext context;
    v1::AttendResponse response;
    EXPECT_EQ(server.attention().Attend(&context, sent, &response).error_code(), code);
  }
  EXPECT_TRUE(Eventually([&] { return Metric(server.http(), "attnd_phase_seconds_count{phase=\"send\"}") == 1; }));
  EXPECT_TRUE(Eventually([&] { return Metric(server.http(), "attnd_request_bytes_count") == 2; }));
  EXPECT_EQ(Metric(server.http(), "attnd_phase_seconds_count{phase=\"compute\"}"), 1);
  EXPECT_EQ(Metric(server.http(), "attnd_response_bytes_count"), 1);
}

// The parts of the exposition format that a hand-written client gets wrong: one HELP and
// TYPE per family, counters that end in _total, no series twice.
TEST(MetricsTest, AreWellFormed) {
  const RunningServer server;
  std::istringstream lines(Http(server.http(), "/metrics").body);
  std::set<std::string> families;
  std::set<std::string> series;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first;
    std::string kind;
    std::string name;
    std::string type;
    words >> first >> kind >> name >> type;
    if (first != "#") {
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
    } else if (kind == "TYPE") {
      EXPECT_TRUE(families.insert(name).second) << line;
      EXPECT_EQ(type == "counter", name.size() > 6 && name.substr(name.size() - 6) == "_total") << line;
    } else {
      EXPECT_EQ(kind, "HELP") << line;
      EXPECT_NE(type, "") << line;
    }
  }
  EXPECT_GT(families.size(), 20U);
}

}  // namespace
}  // namespace attnd
