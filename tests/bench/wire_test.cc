// What a service of tensors must not lose again: bounds far enough from what is measured that a
// busy machine keeps them. ./dev bench --wire measures.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "tests/bench/wire/services.h"
#include "tests/bench/wire/steps.h"
#include "tests/bench/wire/tcp.h"

namespace attnd::bench {
namespace {

constexpr Dims kSmall = {1, 1, 1, 16, 16, 64, 64};

// A request of so many times 12 KiB.
Dims Times(int64_t n) { return {n, 1, 1, 16, 16, 64, 64}; }

class WireTest : public testing::Test {
 protected:
  void SetUp() override {
    attnd_ = StartAttnd();
    ASSERT_NE(attnd_, nullptr);
  }

  std::unique_ptr<GrpcService> attnd_;
};

TEST_F(WireTest, CallsCauseNoPageFaultsOnceTheServerIsWarm) {
  for (const auto& [dims, calls] : {std::pair{kSmall, 300}, std::pair{Times(64), 50}, std::pair{Times(512), 10}}) {
    const grpc::ByteBuffer message = RequestOf(dims);
    attnd_->Run(message, 1, calls);
    // New memory would be as many as there are pages in it, or more.
    const double pages = static_cast<double>(message.Length()) / 4096;
    EXPECT_LT(attnd_->Run(message, 1, calls).faults, 20 + pages / 4) << message.Length() << " bytes";
  }
}

TEST_F(WireTest, ALargeRequestTakesTwiceItsMemory) {
  constexpr double kMib = 1 << 20;
  const grpc::ByteBuffer message = RequestOf(Times(4096));
  attnd_->Run(message, 1, 3);
  const auto in = static_cast<double>(message.Length());
  EXPECT_LT(static_cast<double>(attnd_->child().PeakBytes()), 2 * in + in / kReplyPart + 64 * kMib);
}

TEST_F(WireTest, TheFirstCallAfterAPauseIsFast) {
  const grpc::ByteBuffer message = RequestOf(kSmall);
  attnd_->Run(message, 1, 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_LT(attnd_->Run(message, 1, 1).p50, 0.05);
}

TEST_F(WireTest, SmallCallsComeAtAFairShareOfAnEchos) {
  const auto echo = StartEcho();
  ASSERT_NE(echo, nullptr);
  const grpc::ByteBuffer message = RequestOf(kSmall);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const double ours = attnd_->Run(message, 8, 1000).per_second;
    best = std::max(best, ours / echo->Run(message, 8, 1000).per_second);
  }
  EXPECT_GT(best, 0.4);
}

}  // namespace
}  // namespace attnd::bench
