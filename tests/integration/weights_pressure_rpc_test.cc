// A server with room for three sets of weights, and ten clients that ask for six and
// register those that are gone. 3 seconds, or ATTND_PRESSURE_SECONDS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "core/linear/packed_weights.h"
#include "tests/support/random.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

constexpr int kSets = 6;
constexpr int kClients = 10;

std::chrono::seconds PressureTime() {
  const char* text = std::getenv("ATTND_PRESSURE_SECONDS");
  return std::chrono::seconds(text == nullptr ? 3 : std::atoi(text));
}

TEST(WeightsPressureRpcTest, ClientsRegisterWhatIsGone) {
  std::vector<std::unique_ptr<WeightsCase>> sets;
  std::vector<std::string> ids;
  for (uint32_t i = 0; i < kSets; ++i) {
    FillSquare(*sets.emplace_back(std::make_unique<WeightsCase>()), 256, i);
    ids.push_back(sets.back()->Id());
  }
  ServerOptions options = TestOptions();
  options.weights_budget = 3 * PackedWeights::BytesFor(sets[0]->Shapes());
  RunningServer server(options);
  std::atomic<bool> stop = false;
  std::atomic<int64_t> found = 0;
  std::atomic<int64_t> registered = 0;

  std::vector<std::thread> clients;
  for (int t = 0; t < kClients; ++t) {
    clients.emplace_back([&, t] {
      const auto client = *Client::Connect({.address = server.address(), .timeout = kPatience});
      Random random(static_cast<uint64_t>(t));
      while (!stop) {
        const auto set = static_cast<size_t>(random.Below(kSets));
        const auto info = client->DescribeWeights(ids[set]);
        if (info.ok()) {
          ASSERT_EQ(info->weights_id(), ids[set]);
          ++found;
          continue;
        }
        ASSERT_THAT(info, IsError(absl::StatusCode::kNotFound, ids[set]));
        const auto done = client->RegisterWeights(sets[set]->weights(), "newest");
        // Uploads of others may have all the room for longer than retries last.
        if (absl::IsResourceExhausted(done.status())) continue;
        ASSERT_THAT(done, IsOk());
        ASSERT_EQ(done->id, ids[set]);
        ++registered;
      }
    });
  }
  const auto client = *Client::Connect({.address = server.address(), .timeout = kPatience});
  const auto end = std::chrono::steady_clock::now() + PressureTime();
  while (std::chrono::steady_clock::now() < end) {
    const auto list = client->ListWeights();
    ASSERT_THAT(list, IsOk());
    ASSERT_LE(list->resident_bytes(), options.weights_budget);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  stop = true;
  for (std::thread& thread : clients) thread.join();
  EXPECT_GT(found, kClients);
  EXPECT_GT(registered, kSets);
  EXPECT_GT(Metric(server.http(), "attnd_weights_evictions_total"), 0);
  for (const std::string& id : ids) (void)client->DeleteWeights(id);
  EXPECT_EQ(Metric(server.http(), "attnd_weights_resident_bytes"), 0);
  EXPECT_TRUE(server.server().Drain());
}

}  // namespace
}  // namespace attnd
