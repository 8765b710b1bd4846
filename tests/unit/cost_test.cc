// What jobs say of their work and memory before they start.
#include "core/attention/cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/attention/attention_job.h"
#include "tests/support/run_request.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

const EngineKind kEngine = TestEngine();

TensorView Zeros(DataType dtype, std::vector<int64_t> shape) {
  static const std::vector<std::byte> bytes(size_t{1} << 26);
  const auto size = static_cast<size_t>(*TensorBytes(dtype, shape));
  return {dtype, std::move(shape), Fragments(std::span(bytes).first(size))};
}

AttentionPlan PlanOf(const AttentionRequest& request) {
  auto plan = PlanAttention(request, AttentionLimits());
  EXPECT_THAT(plan, IsOk());
  return plan.ok() ? *std::move(plan) : AttentionPlan();
}

AttentionRequest Square(int64_t len, int64_t dim) {
  AttentionRequest request;
  request.query = request.key = request.value = Zeros(DataType::kFloat16, {len, dim});
  return request;
}

AttentionRequest Packed(const std::vector<int64_t>& lengths, int64_t dim) {
  int64_t total = 0;
  for (const int64_t length : lengths) total += length;
  AttentionRequest request;
  request.layout = Layout::kPacked;
  request.query = request.key = request.value = Zeros(DataType::kFloat16, {total, 1, dim});
  request.options.q_lengths = request.options.kv_lengths = lengths;
  return request;
}

TEST(CostTest, GrowsWithWhatIsDoneForEveryPair) {
  const double plain = PredictCost(PlanOf(Square(1000, 8)), kEngine);
  struct Case {
    std::string name;
    std::function<void(AttentionRequest&)> add;
    double least;
  };
  const Case cases[] = {
      {"masks",
       [](auto& r) {
         r.options.masks.assign(10, {Zeros(DataType::kBool, {1000}), Polarity::kKeep});
       },
       8},
      {"biases", [](auto& r) { r.options.biases.assign(10, Zeros(DataType::kFloat32, {1})); }, 12},
      {"softcap", [](auto& r) { r.options.softcap = 5.0F; }, 1.5},
      {"rope", [](auto& r) { r.options.rope = Rope{RopeStyle::kHalf, {}, {}, {}, {}, {}}; }, 1.05},
      {"weights", [](auto& r) { r.outputs.weights.emplace(); }, 1.5},
  };
  for (const Case& c : cases) {
    AttentionRequest request = Square(1000, 8);
    c.add(request);
    EXPECT_GT(PredictCost(PlanOf(request), kEngine), c.least * plain) << c.name;
  }
}

TEST(CostTest, SeesTheOneLongSequence) {
  for (const size_t at : {size_t{0}, size_t{1}, size_t{5000}}) {
    std::vector<int64_t> lengths(8000, 1);
    lengths[at] = 8000;
    for (const bool causal : {false, true}) {
      AttentionRequest request = Packed(lengths, 4);
      request.options.causal = causal;
      const double exact = 2.0 * 8 * (8000.0 * 8000 / (causal ? 2 : 1));
      EXPECT_NEAR(PlanOf(request).flops, exact, 0.05 * exact) << at << " " << causal;
    }
  }
}

TEST(CostTest, EmptySequencesCostNothing) {
  std::vector<int64_t> lengths(200000, 0);
  lengths[7] = 10;
  EXPECT_LT(PredictCost(PlanOf(Packed(lengths, 4)), kEngine), 1e6);
}

// Requests of few bytes and fewer products that take a millisecond: no poller must run them.
TEST(CostTest, ManyTinyTilesAreNotCheap) {
  // Some 50 us at the speed of a product.
  constexpr double kCheap = 3e6;
  const auto cost = [](DataType dtype, const std::vector<int64_t>& query, const std::vector<int64_t>& key) {
    AttentionRequest request;
    request.query = Zeros(dtype, query);
    request.key = request.value = Zeros(dtype, key);
    return PredictCost(PlanOf(request), kEngine);
  };
  EXPECT_GT(cost(DataType::kFloat16, {1500, 1, 1, 1}, {1500, 1, 1, 1}), 5 * kCheap);
  EXPECT_GT(cost(DataType::kFloat32, {2000, 1, 1, 1}, {2000, 1, 1, 1}), 5 * kCheap);
  EXPECT_GT(cost(DataType::kFloat32, {600, 1}, {600, 1}), kCheap);
  EXPECT_GT(cost(DataType::kFloat32, {1, 1000, 1, 1}, {1, 1000, 0, 1}), kCheap);
  EXPECT_GT(cost(DataType::kFloat32, {2, 1, 5000, 2}, {2, 1, 1, 2}), kCheap);
  EXPECT_LT(cost(DataType::kFloat32, {1, 1, 16, 64}, {1, 1, 16, 64}), kCheap / 4);
}

TEST(CostTest, ListsTakeMemory) {
  AttentionRequest request = Packed(std::vector<int64_t>(100000, 1), 1);
  const int64_t tensors = PlanOf(request).input_bytes;
  EXPECT_GT(AttentionJobSpec(PlanOf(request), kEngine).bytes, tensors + 100000 * 64);
  request.options.documents = Documents{std::vector<int32_t>(100000, 1), {}};
  EXPECT_GT(AttentionJobSpec(PlanOf(request), kEngine).bytes, tensors + 200000 * 64);
}

// Long lists of ids are indexed by a worker: the poller that plans has others to serve.
TEST(CostTest, ManyDocumentIdsAreIndexedLater) {
  AttentionRequest request = Packed({40000}, 1);
  Documents& documents = request.options.documents.emplace();
  for (int32_t i = 0; i < 40000; ++i) documents.query_ids.push_back(i % 127);
  const AttentionPlan plan = PlanOf(request);
  EXPECT_EQ(plan.visibility.documents, nullptr);
  EXPECT_TRUE(plan.has_documents);
  EXPECT_EQ(plan.flops, 4.0 * 40000 * 40000);  // dense until it is known

  documents.query_ids.assign(40000, 1);
  EXPECT_NE(PlanOf(request).visibility.documents, nullptr);
}

TEST(CostTest, DocumentsThatAreIndexedLaterHideTheSame) {
  // Two keys per document, half the sequence apart: a row's output is the mean of its two.
  constexpr int32_t kTokens = 40000;
  constexpr int32_t kHalf = kTokens / 2;
  RequestCase c;
  c.dims = {1, 1, 1, 3, kTokens, 1, 1};
  c.query = {DataType::kFloat32, {1, 1, 3, 1}, {0, 0, 0}};
  c.key = {DataType::kFloat32, {1, 1, kTokens, 1}, std::vector<float>(kTokens)};
  c.value = c.key;
  for (int32_t i = 0; i < kTokens; ++i) c.value.numbers[static_cast<size_t>(i)] = static_cast<float>(i);
  Documents& documents = c.options.documents.emplace();
  documents.query_ids = {0, 17, kHalf - 1};
  for (int32_t i = 0; i < kTokens; ++i) documents.key_ids.push_back(i % kHalf);
  const CaseResult result = RunCase(c, {});
  ASSERT_EQ(result.entries.size(), 1U);
  EXPECT_THAT(result.entries[0].output,
              testing::ElementsAre(kHalf / 2.0F, 17 + kHalf / 2.0F, kHalf - 1 + kHalf / 2.0F));
  EXPECT_EQ(result.rows.pairs, 6);
}

}  // namespace
}  // namespace attnd
