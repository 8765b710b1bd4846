// What a server does when it cannot or need not finish: full queue, deadlines, clients that
// go away, messages that are too large, draining.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "tests/support/server_fixture.h"

namespace attnd {
namespace {

using testing::HasSubstr;

// Takes seconds on two workers; nobody waits for it.
constexpr int64_t kLong = 16'384;

std::string Handled(const std::string& code) {
  return "grpc_server_handled_total{grpc_code=\"" + code +
         R"(",grpc_method="Attend",grpc_service="attnd.v1.AttentionService",grpc_type="unary"})";
}

void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

grpc::Status Attend(const RunningServer& server, const v1::AttendRequest& request) {
  grpc::ClientContext context;
  SetTimeout(context, kPatience);
  v1::AttendResponse response;
  return server.attention().Attend(&context, request, &response);
}

bool Working(const RunningServer& server) {
  return Eventually([&] {
    return Metric(server.http(), "attnd_queue_jobs") > 0 && Metric(server.http(), "attnd_queue_waiting") == 0;
  });
}

bool Idle(const RunningServer& server) {
  return Eventually([&] { return Metric(server.http(), "attnd_queue_jobs") == 0; });
}

TEST(OverloadTest, RefusesWithAHintWhenTheQueueIsFull) {
  ServerOptions options = TestOptions();
  options.max_queue_requests = 1;
  const RunningServer server(options);
  AttendCalls calls(server.channel());
  AttendCalls::Call& long_call = calls.Start(SquareRequest(kLong));
  ASSERT_TRUE(Working(server));

  grpc::ClientContext context;
  v1::AttendResponse response;
  const grpc::Status status = server.attention().Attend(&context, SmallRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("the queue is full"));
  const auto trailer = context.GetServerTrailingMetadata().find("grpc-retry-pushback-ms");
  ASSERT_NE(trailer, context.GetServerTrailingMetadata().end());
  const int64_t pushback = std::stoll(std::string(trailer->second.data(), trailer->second.size()));
  EXPECT_GT(pushback, 0);
  google::rpc::RetryInfo retry;
  ASSERT_EQ(DetailsOf(status).details_size(), 1);
  ASSERT_TRUE(DetailsOf(status).details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000, pushback);

  long_call.context.TryCancel();
  ASSERT_TRUE(Idle(server));
  EXPECT_TRUE(Attend(server, SmallRequest()).ok());
}

TEST(OverloadTest, StopsComputingForAClientThatCancels) {
  const RunningServer server;
  AttendCalls calls(server.channel());
  AttendCalls::Call& call = calls.Start(SquareRequest(kLong));
  ASSERT_TRUE(Working(server));
  const double flops_of_it = 256.0 * kLong * kLong;
  call.context.TryCancel();
  calls.AwaitAll();
  EXPECT_EQ(call.status.error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(Idle(server));
  EXPECT_LT(Metric(server.http(), "attnd_flops_total"), flops_of_it);
  EXPECT_TRUE(Eventually([&] { return Metric(server.http(), Handled("Canceled")) == 1; }));
  EXPECT_EQ(Metric(server.http(), "attnd_inflight_bytes"), 0);
}

TEST(OverloadTest, RefusesAtOnceWhatCannotMeetItsDeadline) {
  const RunningServer server;
  AttendCalls calls(server.channel());
  // For 69 billion operations.
  const AttendCalls::Call& call =
      calls.Start(SquareRequest(kLong), [](auto& context) { SetTimeout(context, std::chrono::milliseconds(150)); });
  calls.AwaitAll();
  EXPECT_EQ(call.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(Idle(server));
  EXPECT_TRUE(Attend(server, SmallRequest()).ok());
}

TEST(OverloadTest, EndsRequestsWhoseDeadlinePassesWhileTheyWait) {
  ServerOptions options = TestOptions();
  options.workers = 1;
  const RunningServer server(options);
  AttendCalls calls(server.channel());
  AttendCalls::Call& long_call =
      calls.Start(SquareRequest(kLong), [](auto& context) { context.AddMetadata("attnd-priority", "1"); });
  ASSERT_TRUE(Working(server));
  // Fast enough alone; behind the other one it gets no turn.
  AttendCalls::Call& late =
      calls.Start(SmallRequest(), [](auto& context) { SetTimeout(context, std::chrono::milliseconds(200)); });
  // The client may notice first, and then cancels.
  ASSERT_TRUE(Eventually([&] {
    return Metric(server.http(), Handled("DeadlineExceeded")) + Metric(server.http(), Handled("Canceled")) == 1;
  }));
  long_call.context.TryCancel();
  calls.AwaitAll();
  EXPECT_EQ(late.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST(OverloadTest, RefusesMessagesOverTheReceiveLimitWithoutAHint) {
  ServerOptions options = TestOptions();
  options.max_request_bytes = 1 << 20;
  const RunningServer server(options);
  grpc::ClientContext context;
  v1::AttendResponse response;
  const grpc::Status status = server.attention().Attend(&context, SquareRequest(4096), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max"));
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 0U);
  EXPECT_TRUE(Attend(server, SmallRequest()).ok());
}

TEST(OverloadTest, RefusesResponsesOverTheLimitBeforeComputing) {
  ServerOptions options = TestOptions();
  options.max_response_bytes = 1 << 20;
  const RunningServer server(options);
  v1::AttendRequest request = SquareRequest(1024);
  request.mutable_outputs()->mutable_weights();
  const grpc::Status status = Attend(server, request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_EQ(BadFieldOf(status), "outputs.weights");
}

TEST(OverloadTest, RefusesNewRequestsWhileDrainingAndAnswersAdmittedOnes) {
  RunningServer server;
  AttendCalls calls(server.channel());
  AttendCalls::Call& admitted = calls.Start(SquareRequest(kLong / 4));
  ASSERT_TRUE(Working(server));
  bool drained = false;
  std::thread drain([&] { drained = server.server().Drain(); });
  EXPECT_TRUE(Eventually([&] {
    const grpc::StatusCode code = Attend(server, SmallRequest()).error_code();
    EXPECT_TRUE(code == grpc::StatusCode::OK || code == grpc::StatusCode::UNAVAILABLE) << code;
    return code == grpc::StatusCode::UNAVAILABLE;
  }));
  drain.join();
  calls.AwaitAll();
  EXPECT_TRUE(drained);
  EXPECT_TRUE(admitted.status.ok()) << admitted.status.error_message();
}

TEST(OverloadTest, CancelsWhatIsLeftWhenTheDrainTimesOut) {
  ServerOptions options = TestOptions();
  options.drain_timeout = std::chrono::milliseconds(50);
  RunningServer server(options);
  AttendCalls calls(server.channel());
  const AttendCalls::Call& call = calls.Start(SquareRequest(kLong));
  ASSERT_TRUE(Working(server));
  EXPECT_FALSE(server.server().Drain());
  calls.AwaitAll();
  EXPECT_FALSE(call.status.ok());
}

TEST(OverloadTest, StopsAtOnceWhenDestroyedWithRequestsInProgress) {
  auto server = std::make_unique<RunningServer>();
  AttendCalls calls(ConnectTo(server->address()));
  const AttendCalls::Call& call = calls.Start(SquareRequest(kLong));
  ASSERT_TRUE(Working(*server));
  server.reset();
  calls.AwaitAll();
  EXPECT_FALSE(call.status.ok());
}

// HTTP/2 by hand, as no client library stops in the middle of a message.
class HalfRequest {
 public:
  explicit HalfRequest(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    constexpr char kSettings = 4;
    constexpr char kHeaders = 1;
    constexpr char kEndHeaders = 4;
    Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, "") +
         Frame(kHeaders, kEndHeaders, 1,
               Header(":method", "POST") + Header(":scheme", "http") +
                   Header(":path", "/attnd.v1.AttentionService/Attend") + Header(":authority", "test") +
                   Header("te", "trailers") + Header("content-type", "application/grpc")));
  }
  ~HalfRequest() { close(fd_); }
  HalfRequest(const HalfRequest&) = delete;
  HalfRequest& operator=(const HalfRequest&) = delete;

  // A message said to be of 100 MiB, of which only a little comes.
  void SendStart() {
    const std::string prefix = {0, 6, 0x40, 0, 0};
    Send(Frame(0, 0, 1, prefix + std::string(8192, '\1')));
  }

 private:
  static std::string Header(const std::string& name, const std::string& value) {
    return std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
  }
  static std::string Frame(char type, char flags, char stream, const std::string& payload) {
    const size_t size = payload.size();
    return std::string{static_cast<char>(size >> 16),
                       static_cast<char>(size >> 8),
                       static_cast<char>(size),
                       type,
                       flags,
                       0,
                       0,
                       0,
                       stream} +
           payload;
  }
  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  const int fd_;
};

TEST(OverloadTest, SurvivesClientsThatDieInTheMiddleOfARequest) {
  const RunningServer server;
  for (int i = 0; i < 20; ++i) {
    HalfRequest half(server.address());
    half.SendStart();
  }
  EXPECT_TRUE(Attend(server, SmallRequest()).ok());
  EXPECT_EQ(Metric(server.http(), "attnd_queue_jobs"), 0);
}

TEST(OverloadTest, DrainsThoughARequestNeverArrivesInFull) {
  RunningServer server;
  HalfRequest half(server.address());
  half.SendStart();
  EXPECT_TRUE(Attend(server, SmallRequest()).ok());
  EXPECT_TRUE(server.server().Drain());
}

}  // namespace
}  // namespace attnd
