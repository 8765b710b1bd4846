// A store with room for three sets, and ten threads that use six: whoever has weights has
// the right ones, and the budget holds at any time. 2 seconds, or ATTND_PRESSURE_SECONDS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/errors.h"
#include "core/linear/weight_store.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

constexpr int kSets = 6;
constexpr int kThreads = 10;
constexpr int64_t kWidth = 48;

std::chrono::seconds PressureTime() {
  const char* text = std::getenv("ATTND_PRESSURE_SECONDS");
  return std::chrono::seconds(text == nullptr ? 2 : std::atoi(text));
}

class Square : public WeightsCase {
 public:
  explicit Square(uint32_t seed) : id_((FillSquare(*this, kWidth, seed), Id())) {}
  [[nodiscard]] const std::string& id() const { return id_; }

 private:
  std::string id_;
};

// Whether row `k` of the query's matrix, [in, out], is that of `expected`, which came [out, in].
bool RowIsRight(const PackedWeights& weights, const Square& expected, int64_t k) {
  std::vector<float> unit(kWidth);
  unit[static_cast<size_t>(k)] = 1;
  std::vector<float> row(kWidth);
  const absl::Status status =
      weights.matrix(WeightRole::kQuery).Multiply({unit.data(), kWidth}, 1, {0, kWidth}, nullptr, {row.data(), kWidth});
  const auto* elements =
      reinterpret_cast<const float*>(expected.weights().tensors[WeightRole::kQuery]->bytes.pieces()[0].data());
  for (int64_t c = 0; c < kWidth; ++c) {
    if (row[static_cast<size_t>(c)] != elements[c * kWidth + k]) return false;
  }
  return status.ok();
}

TEST(WeightsPressureTest, NobodyGetsWrongWeightsAndTheBudgetHolds) {
  std::vector<std::unique_ptr<Square>> sets;
  for (uint32_t i = 0; i < kSets; ++i) sets.push_back(std::make_unique<Square>(i));
  const int64_t budget = 3 * PackedWeights::BytesFor(sets[0]->Shapes());
  WeightStore store({.budget_bytes = budget}, Clock::Real());
  std::atomic<bool> stop = false;
  std::atomic<int64_t> used = 0;
  std::atomic<int64_t> registered = 0;
  std::atomic<int64_t> refused = 0;

  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<uint64_t>(t));
      while (!stop) {
        const Square& set = *sets[static_cast<size_t>(random.Below(kSets))];
        auto pin = store.FindById(set.id());
        if (pin.ok()) {
          ASSERT_TRUE(RowIsRight(**pin, set, random.Below(kWidth)));
          ++used;
          if (random.Below(50) == 0) (void)store.Delete(set.id());
          ASSERT_TRUE(RowIsRight(**pin, set, random.Below(kWidth)));
          continue;
        }
        ASSERT_THAT(pin, IsError(absl::StatusCode::kNotFound, set.id()));
        const auto done = store.RegisterAs(set.id(), set.weights(), set.Shapes(), "newest");
        if (done.ok()) {
          ++registered;
        } else {
          ASSERT_TRUE(RetryAfterOf(done.status()).has_value()) << done.status();
          ++refused;
          std::this_thread::yield();
        }
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + PressureTime();
  while (std::chrono::steady_clock::now() < end) {
    const WeightStoreStats stats = store.Stats();
    ASSERT_LE(stats.resident_bytes + stats.reserved_bytes, budget);
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(used, kThreads);
  EXPECT_GT(registered, kSets);
  EXPECT_GT(store.Stats().evictions, 0);
  RecordProperty("used", std::to_string(used));
  RecordProperty("registered", std::to_string(registered));
  RecordProperty("refused", std::to_string(refused));

  for (const auto& set : sets) (void)store.Delete(set->id());
  EXPECT_EQ(store.Stats().resident_bytes, 0);
  EXPECT_EQ(store.Stats().reserved_bytes, 0);
  EXPECT_EQ(store.Stats().sets, 0);
}

}  // namespace
}  // namespace attnd
