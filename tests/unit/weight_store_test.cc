#include "core/linear/weight_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/errors.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kWidth = 16;

// Sets of one size, told apart by their seeds.
class Square : public WeightsCase {
 public:
  explicit Square(uint32_t seed) { FillSquare(*this, kWidth, seed); }
};

int64_t SetBytes() { return PackedWeights::BytesFor(Square(0).Shapes()); }

class WeightStoreTest : public ::testing::Test {
 protected:
  std::string Add(const WeightsCase& weights, const std::string& alias = "") {
    const auto registered = store_.Register(weights.weights(), alias);
    EXPECT_THAT(registered, IsOk());
    EXPECT_FALSE(registered->existed);
    EXPECT_EQ(registered->id, weights.Id());
    return registered->id;
  }
  std::vector<std::string> Ids() const {
    std::vector<std::string> ids;
    for (const WeightsInfo& info : store_.List()) ids.push_back(info.id);
    return ids;
  }

  ManualClock clock_;
  WeightStore store_{{.budget_bytes = 3 * SetBytes()}, clock_};
  const Square a_{1};
  const Square b_{2};
  const Square c_{3};
  const Square d_{4};
};

TEST_F(WeightStoreTest, FindsByIdAndAlias) {
  const std::string id = Add(a_, "bert.layer.0");
  const auto by_id = store_.FindById(id);
  ASSERT_THAT(by_id, IsOk());
  const auto by_alias = store_.FindByAlias("bert.layer.0");
  ASSERT_THAT(by_alias, IsOk());
  EXPECT_EQ(by_id->get(), by_alias->get());
  EXPECT_EQ((*by_id)->shapes().out(WeightRole::kKey), kWidth);
}

TEST_F(WeightStoreTest, NamesWhatItDoesNotHave) {
  Add(a_, "here");
  EXPECT_THAT(store_.FindById(b_.Id()), IsError(absl::StatusCode::kNotFound, b_.Id()));
  EXPECT_THAT(store_.FindByAlias("th\nere"), IsError(absl::StatusCode::kNotFound, "alias 'th\\nere'"));
  EXPECT_THAT(store_.FindByAlias(""), IsError(absl::StatusCode::kNotFound, "register"));
  EXPECT_THAT(store_.FindByAlias(a_.Id()), IsError(absl::StatusCode::kNotFound, a_.Id()));
  EXPECT_THAT(store_.FindById("here"), IsError(absl::StatusCode::kNotFound, "here"));
  EXPECT_THAT(store_.Describe("x"), IsError(absl::StatusCode::kNotFound, "alias 'x'"));
  EXPECT_THAT(store_.Delete("x"), IsError(absl::StatusCode::kNotFound, "alias 'x'"));
  EXPECT_THAT(store_.SetAlias("x", "y"), IsError(absl::StatusCode::kNotFound, "alias 'x'"));
}

TEST_F(WeightStoreTest, RegisteringAgainIsFree) {
  const std::string id = Add(a_);
  const auto again = store_.Register(a_.weights(), "again");
  ASSERT_THAT(again, IsOk());
  EXPECT_TRUE(again->existed);
  EXPECT_EQ(again->id, id);
  EXPECT_EQ(store_.Stats().resident_bytes, SetBytes());
  EXPECT_THAT(store_.Describe(id)->aliases, ElementsAre("again"));
}

TEST_F(WeightStoreTest, DescribesWhatCame) {
  const std::string id = Add(a_, "z");
  EXPECT_THAT(store_.SetAlias("z", "b"), IsOk());
  const auto pin = store_.FindById(id);
  clock_.Advance(seconds(3));
  const auto info = store_.Describe("b");
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->id, id);
  EXPECT_THAT(info->aliases, ElementsAre("b", "z"));
  EXPECT_EQ(info->bytes, SetBytes());
  EXPECT_EQ(info->requests, 1);
  EXPECT_EQ(info->idle, seconds(3));
  EXPECT_EQ(info->orientation, Orientation::kOutIn);
  ASSERT_EQ(info->tensors.size(), 3);
  EXPECT_EQ(info->tensors[2].role, WeightRole::kValue);
  EXPECT_THAT(info->tensors[2].shape, ElementsAre(kWidth, kWidth));
}

TEST_F(WeightStoreTest, EvictsTheLeastRecentlyUsed) {
  const std::string a = Add(a_, "a");
  const std::string b = Add(b_);
  const std::string c = Add(c_);
  ASSERT_THAT(store_.FindById(a), IsOk());
  const std::string d = Add(d_);
  EXPECT_THAT(Ids(), ElementsAre(d, a, c));
  EXPECT_EQ(store_.Stats().evictions, 1);
  EXPECT_EQ(store_.Stats().resident_bytes, 3 * SetBytes());
  Add(b_);
  Add(c_);
  Add(Square(9));
  EXPECT_THAT(store_.FindByAlias("a"), IsError(absl::StatusCode::kNotFound, "'a'"));
}

TEST_F(WeightStoreTest, UseCountsFromItsEnd) {
  const std::string a = Add(a_);
  auto pin = *store_.FindById(a);
  Add(b_);
  Add(c_);
  clock_.Advance(seconds(2));
  pin.reset();
  EXPECT_EQ(store_.Describe(a)->idle, seconds(0));
  EXPECT_EQ(Ids().front(), a);
}

TEST_F(WeightStoreTest, KeepsWhatIsInUse) {
  auto a = *store_.FindById(Add(a_));
  auto b = *store_.FindById(Add(b_));
  auto c = *store_.FindById(Add(c_));
  const auto refused = store_.Register(d_.weights());
  EXPECT_THAT(refused, IsError(absl::StatusCode::kResourceExhausted, "--weights-budget"));
  EXPECT_TRUE(RetryAfterOf(refused.status()).has_value());
  EXPECT_EQ(store_.Stats().evictions, 0);
  const auto copy = b;
  b.reset();
  EXPECT_THAT(store_.Register(d_.weights()), IsError(absl::StatusCode::kResourceExhausted, "bytes are needed"));
  c.reset();
  Add(d_);
  EXPECT_THAT(Ids(), ::testing::UnorderedElementsAre(a_.Id(), b_.Id(), d_.Id()));
}

TEST_F(WeightStoreTest, EvictsNothingInVain) {
  const auto a = *store_.FindById(Add(a_));
  Add(b_);
  WeightsCase large;
  FillSquare(large, 2 * kWidth - 1, 1);
  ASSERT_GT(PackedWeights::BytesFor(large.Shapes()), 2 * SetBytes());
  ASSERT_LE(PackedWeights::BytesFor(large.Shapes()), 4 * SetBytes());
  WeightStore store({.budget_bytes = 4 * SetBytes()}, clock_);
  ASSERT_THAT(store.Register(a_.weights()), IsOk());
  ASSERT_THAT(store.Register(b_.weights()), IsOk());
  const auto pin = store.FindById(a_.Id());
  EXPECT_THAT(store.Register(large.weights()), IsError(absl::StatusCode::kResourceExhausted, ""));
  EXPECT_EQ(store.Stats().sets, 2);
}

TEST_F(WeightStoreTest, RefusesWhatCanNeverFit) {
  WeightsCase large;
  FillSquare(large, 4 * kWidth, 1);
  EXPECT_THAT(store_.Register(large.weights()), IsError(absl::StatusCode::kInvalidArgument, "--weights-budget"));
  EXPECT_THAT(store_.CheckFits(large.Shapes()), IsError(absl::StatusCode::kInvalidArgument, "--weights-budget"));
  EXPECT_EQ(store_.Stats().reserved_bytes, 0);
}

TEST_F(WeightStoreTest, RefusesWeightsThatAreWrong) {
  WeightsCase wrong;
  EXPECT_THAT(store_.Register(wrong.weights()), NamesField(absl::StatusCode::kInvalidArgument, "w_query"));
  EXPECT_THAT(store_.Register(a_.weights(), "a b"), NamesField(absl::StatusCode::kInvalidArgument, "alias"));
  EXPECT_THAT(Ids(), IsEmpty());
}

TEST_F(WeightStoreTest, DeletedWeightsCountUntilTheyAreFree) {
  const std::string id = Add(a_, "a");
  auto pin = *store_.FindById(id);
  EXPECT_THAT(store_.Delete("a"), IsOk());
  EXPECT_THAT(store_.FindById(id), IsError(absl::StatusCode::kNotFound, id));
  EXPECT_THAT(store_.FindByAlias("a"), IsError(absl::StatusCode::kNotFound, "a"));
  EXPECT_EQ(store_.Stats().resident_bytes, SetBytes());
  EXPECT_EQ(pin->shapes().in(WeightRole::kQuery), kWidth);
  Add(a_);
  Add(b_);
  EXPECT_EQ(store_.Stats().resident_bytes, 3 * SetBytes());
  Add(c_);
  EXPECT_EQ(store_.Stats().resident_bytes, 3 * SetBytes());
  EXPECT_EQ(store_.Stats().evictions, 1);
  pin.reset();
  EXPECT_EQ(store_.Stats().resident_bytes, 2 * SetBytes());
}

TEST_F(WeightStoreTest, PinsOutliveTheStore) {
  auto store = std::make_unique<WeightStore>(WeightStore::Options(), clock_);
  ASSERT_THAT(store->Register(a_.weights(), "a"), IsOk());
  const auto pin = *store->FindByAlias("a");
  store.reset();
  EXPECT_EQ(pin->shapes().in(WeightRole::kQuery), kWidth);
}

TEST_F(WeightStoreTest, AliasesMove) {
  Add(a_, "x");
  Add(b_, "x");
  EXPECT_THAT(store_.Describe(a_.Id())->aliases, IsEmpty());
  EXPECT_EQ(store_.Describe("x")->id, b_.Id());
  EXPECT_EQ(*store_.SetAlias(a_.Id(), "x"), a_.Id());
  EXPECT_EQ(store_.Describe("x")->id, a_.Id());
  EXPECT_EQ(*store_.SetAlias("x", "x"), a_.Id());
  EXPECT_THAT(store_.SetAlias("x", std::string(64, 'a')), NamesField(absl::StatusCode::kInvalidArgument, "alias"));
  EXPECT_TRUE(*store_.Reuse(b_.Id(), "x"));
  EXPECT_EQ(store_.Describe("x")->id, b_.Id());
  EXPECT_FALSE(*store_.Reuse(c_.Id(), "x"));
}

TEST_F(WeightStoreTest, NamesAndSetsAreBounded) {
  WeightStore store({.budget_bytes = 3 * SetBytes(), .max_sets = 2, .max_aliases = 2}, clock_);
  ASSERT_THAT(store.Register(a_.weights(), "1"), IsOk());
  ASSERT_THAT(store.SetAlias("1", "2"), IsOk());
  EXPECT_THAT(store.SetAlias("1", "3"), NamesField(absl::StatusCode::kInvalidArgument, "alias"));
  EXPECT_THAT(store.Reuse(a_.Id(), "3"), NamesField(absl::StatusCode::kInvalidArgument, "alias"));
  EXPECT_THAT(store.SetAlias("1", "2"), IsOk());
  ASSERT_THAT(store.Register(b_.weights()), IsOk());
  ASSERT_THAT(store.Register(c_.weights()), IsOk());
  EXPECT_EQ(store.Stats().sets, 2);
  const auto pins = {store.FindById(b_.Id()), store.FindById(c_.Id())};
  EXPECT_THAT(store.Register(d_.weights()), IsError(absl::StatusCode::kResourceExhausted, "all of the 2 sets"));
}

TEST_F(WeightStoreTest, RegisteredByManyAtOnceIsPackedOnce) {
  WeightsCase large;
  FillSquare(large, 512, 1);
  WeightStore store({.budget_bytes = PackedWeights::BytesFor(large.Shapes())}, clock_);
  std::atomic<int> packed = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto registered = store.Register(large.weights());
      ASSERT_THAT(registered, IsOk());
      packed += registered->existed ? 0 : 1;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(packed, 1);
  EXPECT_EQ(store.Stats().evictions, 0);
}

// A budget for three sets and eight threads that use six, register, rename and delete them.
TEST_F(WeightStoreTest, HoldsItsBudgetUnderPressure) {
  constexpr int kSets = 6;
  std::vector<std::unique_ptr<Square>> sets;
  for (uint32_t i = 0; i < kSets; ++i) sets.push_back(std::make_unique<Square>(i));
  std::atomic<bool> stop = false;
  std::atomic<int> used = 0;
  std::thread watch([&] {
    while (!stop) {
      const WeightStoreStats stats = store_.Stats();
      ASSERT_LE(stats.resident_bytes + stats.reserved_bytes, stats.budget_bytes);
    }
  });
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, state = t]() mutable {
      for (int i = 0; i < 300; ++i) {
        state = state * 1664525U + 1013904223U;
        const Square& set = *sets[(state >> 8) % kSets];
        auto pin = store_.FindById(set.Id());
        if (!pin.ok()) {
          const auto registered = store_.Register(set.weights(), "set");
          ASSERT_TRUE(registered.ok() || RetryAfterOf(registered.status()).has_value()) << registered.status();
          continue;
        }
        ASSERT_EQ((*pin)->shapes().out(WeightRole::kKey), kWidth);
        ++used;
        if ((state >> 20) % 16 == 0) (void)store_.Delete(set.Id());
        if ((state >> 20) % 16 == 1) (void)store_.SetAlias(set.Id(), "other");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  stop = true;
  watch.join();
  EXPECT_GT(used, 0);
  int64_t resident = 0;
  for (const WeightsInfo& info : store_.List()) {
    EXPECT_EQ(info.requests, 0);
    resident += info.bytes;
  }
  EXPECT_EQ(store_.Stats().resident_bytes, resident);
  EXPECT_EQ(store_.Stats().reserved_bytes, 0);
}

}  // namespace
}  // namespace attnd
