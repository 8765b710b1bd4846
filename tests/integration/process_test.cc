// The program attnd as scripts and supervisors meet it: flags, output, signals, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/server_fixture.h"

namespace attnd {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

using Flags = std::vector<std::string>;

// Flags that let tests run side by side, and `more`.
Flags AnyPort(const Flags& more = {}) {
  Flags flags = {"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "2", "--lame-duck", "0"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

// A file that goes at the end of the test.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name) : path_(testing::TempDir() + std::to_string(getpid()) + "_" + name) {}
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void Write(const std::string& text) const { std::ofstream(path_) << text; }
  [[nodiscard]] std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// A port of 127.0.0.1 that somebody else listens on.
class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~TakenPort() { close(fd_); }
  TakenPort(const TakenPort&) = delete;
  TakenPort& operator=(const TakenPort&) = delete;
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  const int fd_;
  std::string address_;
};

// Runs attnd, which must fail with one line on stderr that contains `part`.
void ExpectFailure(const Flags& flags, int exit_status, const std::string& part,
                   const std::vector<std::string>& environment = {}) {
  SCOPED_TRACE(part);
  ServerProcess process(flags, environment);
  EXPECT_EQ(process.AwaitExit(), exit_status);
  EXPECT_THAT(process.out(), IsEmpty());
  const std::string line = process.err();
  EXPECT_THAT(line, StartsWith("attnd: "));
  EXPECT_THAT(line, HasSubstr(part));
  EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
}

TEST(ProcessTest, SaysWhereItListensOnceItServes) {
  const TemporaryFile ready("ready.json");
  ServerProcess process(AnyPort({"--ready-file", ready.path()}));
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  ASSERT_TRUE(Eventually([&] { return !ready.Read().empty(); }));
  EXPECT_EQ(process.out(), "attnd ready grpc=" + process.grpc_address() + " http=" + process.http_address() + "\n");
  EXPECT_EQ(Http(process.http_address(), "/readyz").status, 200);
  const auto content = nlohmann::json::parse(ready.Read());
  EXPECT_EQ(content["grpc"], nlohmann::json::array({process.grpc_address()}));
  EXPECT_EQ(content["http"], process.http_address());
  EXPECT_GT(content["pid"], 1);
  process.Signal(SIGTERM);
  EXPECT_EQ(process.AwaitExit(), 0);
  EXPECT_FALSE(std::filesystem::exists(ready.path()));
}

TEST(ProcessTest, LogsWhatItIsBeforeServing) {
  ServerProcess process(AnyPort());
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  EXPECT_TRUE(Eventually([&] { return process.err().find("serving") != std::string::npos; }));
  for (const char* part : {"version=", "isa=", "onednn=", "engine=fused", "numerics_id=", "workers=2",
                           "max_request_bytes=", "max_queue_requests="}) {
    EXPECT_THAT(process.err(), HasSubstr(part));
  }
  process.Signal(SIGINT);
  EXPECT_EQ(process.AwaitExit(), 0);
}

TEST(ProcessTest, AnswersAllFiftyRequestsInFlightAfterSigterm) {
  ServerProcess process(AnyPort());
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  AttendCalls calls(ConnectTo(process.grpc_address()));
  constexpr int kCalls = 50;
  std::vector<const AttendCalls::Call*> all;
  all.reserve(kCalls);
  const v1::AttendRequest request = SquareRequest(2048);
  for (int i = 0; i < kCalls; ++i) all.push_back(&calls.Start(request));
  ASSERT_TRUE(Eventually([&] {
    return Metric(process.http_address(),
                  "grpc_server_started_total{grpc_method=\"Attend\",grpc_service=\"attnd.v1.AttentionService\","
                  "grpc_type=\"unary\"}") == kCalls;
  }));
  process.Signal(SIGTERM);
  calls.AwaitAll();
  int answered = 0;
  for (const auto* call : all) {
    EXPECT_TRUE(call->status.ok()) << call->status.error_message();
    answered += call->response.output().data().size() == request.query().data().size() ? 1 : 0;
  }
  EXPECT_EQ(answered, kCalls);
  EXPECT_EQ(process.AwaitExit(), 0) << process.err();
}

TEST(ProcessTest, ServesOnAsALameDuck) {
  ServerProcess process({"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--lame-duck", "10m"});
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  process.Signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] { return Http(process.http_address(), "/readyz").status == 503; }));
  EXPECT_EQ(Http(process.http_address(), "/healthz").status, 200);
  const auto stub = v1::AttentionService::NewStub(ConnectTo(process.grpc_address()));
  grpc::ClientContext context;
  v1::AttendResponse response;
  EXPECT_TRUE(stub->Attend(&context, SmallRequest(), &response).ok());
}

TEST(ProcessTest, EndsAtOnceOnASecondSignal) {
  ServerProcess process(AnyPort());
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  AttendCalls calls(ConnectTo(process.grpc_address()));
  calls.Start(SquareRequest(32'768));
  ASSERT_TRUE(Eventually([&] { return Metric(process.http_address(), "attnd_queue_jobs") == 1; }));
  process.Signal(SIGTERM);
  ASSERT_TRUE(Eventually([&] { return Http(process.http_address(), "/readyz").status == 503; }));
  // Signals right after the first are taken for its echo.
  ASSERT_TRUE(Eventually([&] {
    process.Signal(SIGTERM);
    return !process.running();
  }));
  EXPECT_EQ(process.AwaitExit(), 128 + SIGTERM);
}

TEST(ProcessTest, FailsClearlyWhenAPortIsTaken) {
  const TakenPort taken;
  const std::string reason = taken.address() + ": Address already in use";
  ExpectFailure({"--listen", taken.address(), "--http", "off"}, 1, "cannot listen on " + reason);
  ExpectFailure({"--listen", "127.0.0.1:0", "--http", taken.address()}, 1,
                "cannot listen on " + taken.address() + " (--http): Address already in use");
}

TEST(ProcessTest, DoesNotTakeAUnixSocketAwayFromAnotherServer) {
  const TemporaryFile socket("attnd.sock");
  const std::string address = "unix:" + socket.path();
  ServerProcess first({"--listen", address, "--http", "off", "--lame-duck", "0"});
  ASSERT_TRUE(first.AwaitReady()) << first.err();
  EXPECT_EQ(first.grpc_address(), address);
  ExpectFailure({"--listen", address, "--http", "off"}, 1, "Address already in use");
  first.Signal(SIGKILL);
  first.AwaitExit();
  ServerProcess second({"--listen", address, "--http", "off", "--lame-duck", "0"});
  EXPECT_TRUE(second.AwaitReady()) << "what a dead server left behind is no obstacle: " << second.err();
}

TEST(ProcessTest, FailsClearlyWhenAFlagIsWrong) {
  ExpectFailure({"--bogus"}, 2, "--bogus");
  ExpectFailure({"--workers", "0"}, 2, "--workers: 0 is out of range; it must be 1 to 4096");
  ExpectFailure({"--workers", "many"}, 2, "--workers = many");
  ExpectFailure({"--max-request-bytes", "2GiB"}, 2, "--max-request-bytes");
  ExpectFailure({"--lame-duck", "soon"}, 2, "\"soon\" is no duration");
  ExpectFailure({"--log-level", "loud"}, 2, "--log-level");
  ExpectFailure({"--listen", "nowhere"}, 2, "\"nowhere\" is no address");
  ExpectFailure({"--listen", "127.0.0.1:70000"}, 2, "\"70000\" is no port");
  ExpectFailure({"--attention-engine", "steam"}, 2, "--attention-engine");
  ExpectFailure({"--linear-engine", "steam"}, 2, "--linear-engine");
  ExpectFailure({}, 2, "--workers", {"ATTND_WORKERS=none"});
  ExpectFailure({"--log-file", "/proc/no/such/file"}, 1, "--log-file");
  ExpectFailure(AnyPort({"--ready-file", "/proc/no/such/file", "--log-level", "error"}), 1, "--ready-file");
}

TEST(ProcessTest, ServesOtherMachinesInPlainTextOnlyWhenTold) {
  ExpectFailure({"--listen", "0.0.0.0:0", "--http", "off"}, 2, "add --insecure");
  ExpectFailure({"--listen", "127.0.0.1:0", "--http", "0.0.0.0:0"}, 2, "add --insecure");
  ServerProcess process({"--listen", "0.0.0.0:0", "--http", "off", "--insecure", "--lame-duck", "0"});
  EXPECT_TRUE(process.AwaitReady()) << process.err();
}

TEST(ProcessTest, ReadsFlagsFromAFileBelowTheEnvironmentBelowTheCommandLine) {
  const TemporaryFile config("attnd.conf");
  config.Write("workers = 3\nmax-head-dim = 111\nmax-queue-requests = 7\nhttp = \"off\"\nlisten = [\"127.0.0.1:0\"]\n");
  ServerProcess process({"--config", config.path(), "--max-queue-requests", "9"},
                        {"ATTND_MAX_HEAD_DIM=222", "ATTND_MAX_QUEUE_REQUESTS=8"});
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  const auto stub = v1::ServerService::NewStub(ConnectTo(process.grpc_address()));
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  ASSERT_TRUE(stub->GetInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.workers(), 3);
  EXPECT_EQ(info.limits().max_head_dim(), 222);
  EXPECT_EQ(info.limits().max_queue_requests(), 9);
}

TEST(ProcessTest, TakesTheConfigurationFileFromTheEnvironment) {
  const TemporaryFile config("variable.conf");
  config.Write("workers = 3\nhttp = \"off\"\nlisten = [\"127.0.0.1:0\"]\n");
  ServerProcess process({}, {"ATTND_CONFIG=" + config.path()});
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  EXPECT_EQ(process.http_address(), "");
}

TEST(ProcessTest, AFailedStartLeavesTheReadyFileOfAnotherServer) {
  const TemporaryFile ready("shared-ready.json");
  ready.Write("{\"pid\": 1}");
  const TakenPort taken;
  ExpectFailure({"--listen", taken.address(), "--http", "off", "--ready-file", ready.path()}, 1, "cannot listen");
  EXPECT_EQ(ready.Read(), "{\"pid\": 1}");
}

TEST(ProcessTest, RefusesAConfigurationFileThatIsMissingOrWrong) {
  ExpectFailure({"--config", "/no/such/file"}, 2, "/no/such/file");
  const TemporaryFile config("wrong.conf");
  config.Write("wrokers = 3\n");
  ExpectFailure({"--config", config.path()}, 2, "there is no flag \"wrokers\"");
  config.Write("workers = 0\n");
  ExpectFailure({"--config", config.path()}, 2, "--workers");
}

TEST(ProcessTest, ProbesAServer) {
  ServerProcess process(AnyPort());
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  const std::string address = process.grpc_address();
  ServerProcess good({"--healthcheck", "--listen", address});
  EXPECT_EQ(good.AwaitExit(), 0);
  EXPECT_EQ(good.out(), "attnd at " + address + ": SERVING\n");
  ServerProcess wildcard({"--healthcheck", "--insecure", "--listen", "0.0.0.0" + address.substr(address.rfind(':'))});
  EXPECT_EQ(wildcard.AwaitExit(), 0);
  process.Signal(SIGTERM);
  process.AwaitExit();
  ExpectFailure({"--healthcheck", "--listen", address}, 1, address);
}

TEST(ProcessTest, HelpFitsAScreen) {
  ServerProcess process({"--help"});
  EXPECT_EQ(process.AwaitExit(), 0);
  std::istringstream lines(process.out());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 80U) << line;
  EXPECT_GT(count, 20);
  EXPECT_LE(count, 44);
}

TEST(ProcessTest, WritesOneJsonObjectPerLine) {
  const TemporaryFile log("log.jsonl");
  ServerProcess process(AnyPort({"--log-format", "json", "--log-level", "debug", "--log-file", log.path()}));
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  const auto stub = v1::AttentionService::NewStub(ConnectTo(process.grpc_address()));
  grpc::ClientContext context;
  context.AddMetadata("attnd-tenant", "\"quoted\" tenant");
  context.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  v1::AttendResponse response;
  ASSERT_TRUE(stub->Attend(&context, SmallRequest(), &response).ok());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.AwaitExit(), 0);
  EXPECT_THAT(process.err(), IsEmpty());
  std::istringstream lines(log.Read());
  int requests = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(object.is_object()) << line;
    EXPECT_TRUE(object.contains("time") && object.contains("level") && object.contains("message")) << line;
    if (object["message"] != "request") continue;
    ++requests;
    EXPECT_EQ(object["code"], "OK");
    EXPECT_EQ(object["q_len"], 5);
    EXPECT_EQ(object["kv_len"], 7);
    EXPECT_EQ(object["tenant"], "\"quoted\" tenant");
    EXPECT_EQ(object["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    EXPECT_EQ(object["request_bytes"], SmallRequest().ByteSizeLong());
    EXPECT_GT(object["compute_seconds"], 0);
  }
  EXPECT_EQ(requests, 1);
}

TEST(ProcessTest, WarnsOfSlowRequestsWithTheirPhases) {
  ServerProcess process(AnyPort({"--slow-request-ms", "1"}));
  ASSERT_TRUE(process.AwaitReady()) << process.err();
  const auto stub = v1::AttentionService::NewStub(ConnectTo(process.grpc_address()));
  grpc::ClientContext context;
  v1::AttendResponse response;
  ASSERT_TRUE(stub->Attend(&context, SquareRequest(2048), &response).ok());
  EXPECT_TRUE(Eventually([&] { return process.err().find("slow request") != std::string::npos; }));
  for (const char* part : {"warning", "queue_seconds=", "gather_seconds=", "compute_seconds=", "send_seconds="}) {
    EXPECT_THAT(process.err(), HasSubstr(part));
  }
}

}  // namespace
}  // namespace attnd
