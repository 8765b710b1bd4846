// attnctl load --find-capacity against a server whose capacity is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/attnctl_run.h"
#include "tests/support/fake_attention.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using std::chrono::milliseconds;

// Calls of 4 ms, one at a time: at equal distances 250 a second can be kept up, and not one more.
// Beyond, the queue grows by the difference for as long as a probe takes.
TEST(LoadCapacityServerTest, WhatIsFoundIsWithinATenthOfWhatTheServerTakes) {
  constexpr double kCapacity = 250;
  FakeAttentionOptions options;
  options.service_time = milliseconds(4);
  FakeAttention server(options);
  const std::string json = TempPath("capacity.json");
  const Outcome outcome = Attnctl({"--server",   server.address(),
                                   "load",       "--find-capacity",
                                   "--slo",      "p95=30ms,errors=1%",
                                   "--arrivals", "constant",
                                   "--rate",     "60",
                                   "--duration", "1s",
                                   "--warm-up",  "200ms",
                                   "--preset",   "tiny",
                                   "--verify",   "off",
                                   "--json",     json});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  std::ifstream file(json);
  const auto report = nlohmann::json::parse(file);
  const double found = report.at("capacity").at("rate_per_second").get<double>();
  RecordProperty("found", std::to_string(found));
  EXPECT_LT(found, 1.1 * kCapacity) << outcome.out;
  // Under sanitizers it is the client that takes no more.
  EXPECT_GT(found, kSanitized ? 60 : 0.9 * kCapacity) << outcome.out;
}

}  // namespace
}  // namespace attnd
