// attnctl load where there is nothing good to tell.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "client/load/oracle.h"
#include "client/load/work.h"
#include "core/runtime/clock.h"
#include "proto/codec.h"
#include "tests/integration/fake_server.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/server_fixture.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(AttnctlLoadFailureTest, WhatTheServerNeverAnswersIsOneLineAtOnce) {
  const RunningServer server;
  const auto load = [&server](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"load", "--server", server.address()});
    return Attnctl(arguments);
  };
  const Outcome shape = load({"--head-dim", "5000", "--duration", "5m"});
  EXPECT_EQ(shape.exit_code, 1);
  EXPECT_EQ(shape.out, "");
  EXPECT_EQ(shape.err, "attnctl: custom: query.shape: has 5000 elements per head; the limit is 4096\n");

  const Outcome weights = load({"--weights", "nobody", "--heads", "2"});
  EXPECT_EQ(weights.exit_code, 1);
  EXPECT_THAT(weights.err, AllOf(IsOneLineOfComplaint(), StartsWith("attnctl: custom: "), HasSubstr("nobody")));

  const Outcome file = load({"--case", TempPath("none.safetensors")});
  EXPECT_EQ(file.exit_code, 1);
  EXPECT_THAT(file.err, AllOf(IsOneLineOfComplaint(), HasSubstr("none.safetensors")));
}

TEST(AttnctlLoadFailureTest, NobodyThereIsOneLine) {
  const Outcome outcome = Attnctl({"load", "--server", UnusedAddress()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, AllOf(IsOneLineOfComplaint(), StartsWith("attnctl: no server at 127.0.0.1:")));
}

// Connects, and never says a word.
class SilentPort {
 public:
  SilentPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~SilentPort() { close(fd_); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;

  [[nodiscard]] const std::string& address() const { return address_; }
  // Until somebody connects; false if nobody does.
  [[nodiscard]] bool AwaitCaller() const {
    pollfd event = {.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&event, 1, 10'000) == 1;
  }

 private:
  const int fd_;
  std::string address_;
};

TEST(AttnctlLoadFailureTest, WhoNeverAnswersIsNotWaitedForLong) {
  const SilentPort port;
  const Time begin = Clock::Real().Now();
  const Outcome outcome = Attnctl({"load", "--server", port.address()});
  const double took = Seconds(Clock::Real().Now() - begin);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "attnctl: no server at " + port.address() + " (no answer within 5 s)\n");
  EXPECT_GT(took, 4.9);
  EXPECT_LT(took, 9);
  EXPECT_THAT(Attnctl({"load", "--server", port.address(), "--timeout", "100ms"}).err,
              HasSubstr("(no answer within 0.1 s)"));
}

TEST(AttnctlLoadFailureTest, AnInterruptEndsTheWaitForAServer) {
  const SilentPort port;
  Time interrupted{};
  // Once it is called the handler is there.
  std::thread interrupter([&] {
    const bool called = port.AwaitCaller();
    EXPECT_TRUE(called);
    interrupted = Clock::Real().Now();
    if (called) kill(getpid(), SIGINT);
  });
  const Outcome outcome = Attnctl({"load", "--server", port.address()});
  const Time end = Clock::Real().Now();
  interrupter.join();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, AllOf(IsOneLineOfComplaint(), HasSubstr("interrupted while connecting")));
  EXPECT_LT(Seconds(end - interrupted), 2);
}

TEST(AttnctlLoadFailureTest, AServerDoesNotSteerTheTerminal) {
  v1::GetInfoResponse info;
  info.set_version("1\x1B[2J");
  FakeServer refusing(
      {.attend = [](auto*, const auto&,
                    auto*) { return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no\x1B]0;mine\a\xC2\x9B"); },
       .info = info});
  const Outcome refused = Attnctl({"load", "--server", refusing.address(), "--preset", "tiny"});
  EXPECT_EQ(refused.err, "attnctl: tiny: no\\x1b]0;mine\\x07\\xc2\\x9b\n");
  FakeServer answering({.info = info});
  const Outcome answered =
      Attnctl({"load", "--server", answering.address(), "--calls", "5", "--warm-up", "0s", "--verify", "off"});
  EXPECT_THAT(answered.out + answered.err, Not(HasSubstr("\x1B")));
  EXPECT_THAT(Attnctl({"info", "--server", answering.address()}).out, HasSubstr("1\\x1b[2J\n"));
}

TEST(AttnctlLoadFailureTest, FoldersAreNoFilesToWrite) {
  FakeServer server({.attend = [](auto*, const auto&, auto*) {
    ADD_FAILURE() << "called";
    return grpc::Status(grpc::StatusCode::INTERNAL, "called");
  }});
  for (const char* flag : {"--json", "--html"}) {
    const Outcome outcome = Attnctl({"load", "--server", server.address(), flag, "/"});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(outcome.err, "attnctl: /: is a folder\n");
  }
}

TEST(AttnctlLoadFailureTest, NothingButRefusalsIsOneLine) {
  FakeServer server({.attend = [](auto*, const auto&, auto*) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  }});
  const Outcome outcome =
      Attnctl({"load", "--server", server.address(), "--preset", "tiny", "--calls", "10", "--warm-up", "0s"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "attnctl: none of 10 calls was answered; RESOURCE_EXHAUSTED: the queue is full\n");
}

TEST(AttnctlLoadFailureTest, ARunInWhichNothingWasDueSaysSo) {
  FakeServer server({});
  const Outcome outcome = Attnctl({"load", "--server", server.address(), "--preset", "tiny", "--rate", "0.001",
                                   "--duration", "100ms", "--warm-up", "10ms"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, AllOf(IsOneLineOfComplaint(), HasSubstr("no call was due in the measured part")));
}

TEST(AttnctlLoadFailureTest, WrongAnswersFailLoudly) {
  FakeServer server({.attend = [](auto*, const auto& request, auto* response) {
    // Of the right shape, but zeros.
    *response->mutable_output() = request.query();
    response->mutable_output()->mutable_data()->assign(request.query().data().size(), '\0');
    return grpc::Status::OK;
  }});
  const Outcome outcome =
      Attnctl({"load", "--server", server.address(), "--preset", "tiny", "--calls", "10", "--warm-up", "0s"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, AllOf(IsOneLineOfComplaint(), StartsWith("attnctl: wrong answers: tiny: output[0, 0, "),
                                 HasSubstr("] is 0, expected ")));
  EXPECT_THAT(outcome.out, HasSubstr("1 in flight"));
}

// Answers as a server does, but turns a bit of the largest element of the output of one call.
class FlippingServer {
 public:
  // `call` counts from 0; the first one is that which looks whether the server takes it at all.
  FlippingServer(int call, int bit)
      : call_(call),
        bit_(bit),
        server_({.attend = [this](auto*, const auto& request, auto* response) { return Answer(request, response); }}) {}

  Outcome Load() {
    return Attnctl({"load", "--server", server_.address(), "--preset", "tiny", "--calls", "10", "--warm-up", "0s"});
  }

 private:
  grpc::Status Answer(const v1::AttendRequest& request, v1::AttendResponse* response) {
    const std::string bytes = request.SerializeAsString();
    const std::string_view piece = bytes;
    auto call = codec::DecodeAttendRequest(codec::MessagePieces(&piece, 1), nullptr);
    load::Work work;
    work.attend = std::make_shared<const AttentionRequest>(std::move(call->request));
    response->ParseFromString(*load::ComputeAnswer(work, EngineKind::kFused));
    response->set_numerics_id("another machine's");
    if (calls_++ == call_) Flip(*response->mutable_output()->mutable_data());
    return grpc::Status::OK;
  }

  void Flip(std::string& output) const {
    std::vector<float> values(output.size() / sizeof(float));
    std::memcpy(values.data(), output.data(), output.size());
    const auto largest =
        std::max_element(values.begin(), values.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
    const auto flipped = std::bit_cast<uint32_t>(*largest) ^ (uint32_t{1} << bit_);
    std::memcpy(output.data() + (largest - values.begin()) * sizeof(float), &flipped, sizeof(flipped));
  }

  const int call_;
  const int bit_;
  std::atomic<int> calls_ = 0;
  FakeServer server_;
};

TEST(AttnctlLoadFailureTest, AFlippedBitOfTheFirstAnswerIsCaughtByTheOracle) {
  // Sign, exponent and the upper mantissa.
  for (const int bit : {31, 30, 23, 22, 15}) {
    const Outcome outcome = FlippingServer(/*call=*/1, bit).Load();
    EXPECT_EQ(outcome.exit_code, 1) << bit;
    EXPECT_THAT(outcome.err, AllOf(IsOneLineOfComplaint(), HasSubstr("wrong answers: tiny: "))) << bit;
    EXPECT_THAT(outcome.out, HasSubstr("float64 oracle")) << bit;
  }
}

TEST(AttnctlLoadFailureTest, AnyFlippedBitOfALaterAnswerIsCaughtByTheFirst) {
  for (const int bit : {31, 11, 0}) {
    const Outcome outcome = FlippingServer(/*call=*/6, bit).Load();
    EXPECT_EQ(outcome.exit_code, 1) << bit;
    EXPECT_THAT(outcome.err,
                AllOf(IsOneLineOfComplaint(),
                      StartsWith("attnctl: wrong answers: tiny: two answers to the same request: output[")))
        << bit;
  }
  // It is the bit, not the server.
  const Outcome outcome = FlippingServer(/*call=*/1000, 0).Load();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

}  // namespace
}  // namespace attnd
