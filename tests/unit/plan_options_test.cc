// Good requests whose options and outputs take more than a line of the plan.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/plan.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using I64s = std::vector<int64_t>;

TensorView TensorOf(DataType dtype, I64s shape) {
  static const std::vector<std::byte> bytes(size_t{1} << 16);
  const auto n = static_cast<size_t>(TensorBytes(dtype, shape).value());
  EXPECT_LE(n, bytes.size());
  return {dtype, std::move(shape), Fragments(std::span(bytes).first(n))};
}
TensorView Floats(I64s shape) { return TensorOf(DataType::kFloat32, std::move(shape)); }

// batch 2, heads 4, kv_heads 2, q_len 3, kv_len 5, head_dim 8, value_dim 6.
AttentionRequest Plain() {
  AttentionRequest request;
  request.query = Floats({2, 4, 3, 8});
  request.key = Floats({2, 2, 5, 8});
  request.value = Floats({2, 2, 5, 6});
  return request;
}

// Sequences of 2, 0 and 3 queries; 4, 2 and 3 keys.
AttentionRequest Packed() {
  AttentionRequest request;
  request.layout = Layout::kPacked;
  request.query = Floats({5, 4, 8});
  request.key = Floats({9, 2, 8});
  request.value = Floats({9, 2, 6});
  request.options.q_lengths = {2, 0, 3};
  request.options.kv_lengths = {4, 2, 3};
  return request;
}

AttentionPlan Plan(const AttentionRequest& request) {
  auto plan = PlanAttention(request, {});
  EXPECT_THAT(plan, IsOk());
  return plan.ok() ? *std::move(plan) : AttentionPlan();
}

TEST(PlanPackedTest, SequencesAreEntriesOfTheirOwnLengths) {
  const AttentionPlan plan = Plan(Packed());
  EXPECT_EQ(plan.dims.batch, 3);
  EXPECT_EQ(plan.dims.heads, 4);
  EXPECT_EQ(plan.dims.kv_heads, 2);
  EXPECT_EQ(plan.dims.q_len, 3);
  EXPECT_EQ(plan.dims.kv_len, 4);
  EXPECT_EQ(plan.total_queries, 5);
  EXPECT_EQ(plan.rows, 20);
  EXPECT_EQ(plan.output_shape, (I64s{5, 4, 6}));
  EXPECT_EQ(plan.lse_shape, (I64s{4, 5}));
  EXPECT_EQ(plan.output_bytes, 5 * 4 * 6 * 4);
  EXPECT_EQ(plan.flops, 2.0 * 4 * (8 + 6) * (2 * 4 + 3 * 3));
  for (const auto& [b, q, kv] : {std::tuple{0, 2, 4}, {1, 0, 2}, {2, 3, 3}}) {
    EXPECT_EQ(plan.queries.count[b], q);
    EXPECT_EQ(plan.q_used[b], q);
    EXPECT_EQ(plan.keys.count[b], kv);
    EXPECT_EQ(plan.visibility.kv_end[b], kv);
  }
}

TEST(PlanPackedTest, RowsLieTokenByToken) {
  const AttentionPlan plan = Plan(Packed());
  EXPECT_EQ(plan.QueryAt(2, 1, 1), ((2 + 1) * 4 + 1) * 8);
  EXPECT_EQ(plan.KeyAt(2, 1, 2), ((6 + 2) * 2 + 1) * 8);
  EXPECT_EQ(plan.ValueAt(1, 0, 1), (4 + 1) * 2 * 6);
  EXPECT_EQ(plan.OutputAt(2, 3, 0), (2 * 4 + 3) * 6);
  EXPECT_EQ(plan.LseAt(2, 3, 1), 3 * 5 + 3);
}

TEST(PlanPackedTest, BlocksOfWeightsFollowEachOther) {
  AttentionRequest request = Packed();
  request.outputs.weights.emplace();
  request.outputs.scores = ScoreStage::kScaled;
  const AttentionPlan plan = Plan(request);
  constexpr int64_t kElements = 4 * (2 * 4 + 3 * 3);
  for (const auto& pairs : {*plan.weights, *plan.scores}) {
    EXPECT_EQ(pairs.shape, (I64s{kElements}));
    EXPECT_EQ(pairs.elements, kElements);
    EXPECT_EQ(plan.PairsAt(pairs, 0, 3, 1), (3 * 2 + 1) * 4);
    EXPECT_EQ(plan.PairsAt(pairs, 2, 0, 0), 4 * 2 * 4);
    EXPECT_EQ(plan.PairsAt(pairs, 2, 1, 2), 4 * 2 * 4 + (1 * 3 + 2) * 3);
  }
  EXPECT_EQ(plan.output_bytes, 4 * (5 * 4 * 6 + 2 * kElements));
}

TEST(PlanPackedTest, ListedRowsCountThroughThePackedQuery) {
  AttentionRequest request = Packed();
  request.outputs.weights = WeightsOutput{.mean = true, .rows = {4, 1, 2}};
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.weights->elements, 1 * 4 + 2 * 3);
  EXPECT_EQ(plan.WeightsSlot(0, 0), -1);
  EXPECT_EQ(plan.WeightsSlot(0, 1), 0);
  EXPECT_EQ(plan.WeightsSlot(2, 0), 1) << "query 2 is listed after query 4";
  EXPECT_EQ(plan.WeightsSlot(2, 1), -1);
  EXPECT_EQ(plan.WeightsSlot(2, 2), 0);
  EXPECT_EQ(plan.PairsAt(*plan.weights, 2, 0, 1), 4 + 3);
}

TEST(PlanPackedTest, NothingAtAllIsFine) {
  AttentionRequest request = Packed();
  request.query = Floats({0, 4, 8});
  request.key = Floats({0, 2, 8});
  request.value = Floats({0, 2, 6});
  request.options.q_lengths = request.options.kv_lengths = {};
  request.outputs = {.lse = true, .weights = WeightsOutput(), .scores = ScoreStage::kBiased};
  AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.dims.batch, 0);
  EXPECT_EQ(plan.rows, 0);
  EXPECT_EQ(plan.output_bytes, 0);
  EXPECT_EQ(plan.flops, 0);
  request.options.q_lengths = request.options.kv_lengths = {0, 0};
  plan = Plan(request);
  EXPECT_EQ(plan.dims.batch, 2);
  EXPECT_EQ(plan.weights->elements, 0);
}

TEST(PlanPackedTest, EachSequenceHasAnAlignmentOfItsOwn) {
  AttentionRequest request = Packed();
  request.options.causal = true;
  request.options.alignment = Alignment::kBottomRight;
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.visibility.Keys(0, 0).size(), 3);
  EXPECT_EQ(plan.visibility.Keys(2, 0).size(), 1);
}

TEST(PlanPackedTest, EqualLengthsNeedNoAlignment) {
  AttentionRequest request = Packed();
  request.key = Floats({5, 2, 8});
  request.value = Floats({5, 2, 6});
  request.options.kv_lengths = request.options.q_lengths;
  request.options.causal = true;
  EXPECT_EQ(Plan(request).visibility.Keys(2, 2).size(), 3);
}

TEST(PlanOptionsTest, LengthsBoundRowsAndKeys) {
  AttentionRequest request = Plain();
  request.options.q_lengths = {2, 0};
  request.options.kv_lengths = {5, 3};
  request.options.kv_starts = {1};
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.q_used[0], 2);
  EXPECT_EQ(plan.q_used[1], 0);
  EXPECT_EQ(plan.queries.count[0], 3) << "the tensor is as large as ever";
  EXPECT_EQ(plan.rows, 24);
  EXPECT_EQ(plan.visibility.Keys(0, 0).begin, 1);
  EXPECT_EQ(plan.visibility.Keys(0, 0).end, 5);
  EXPECT_EQ(plan.visibility.Keys(1, 0).end, 3);
  EXPECT_EQ(plan.flops, 2.0 * 4 * (8 + 6) * (2 * 4 + 0));
}

TEST(PlanOptionsTest, BottomRightAlignsLengthsInUse) {
  AttentionRequest request = Plain();
  request.options.causal = true;
  request.options.alignment = Alignment::kBottomRight;
  request.options.q_lengths = {2, 3};
  request.options.kv_lengths = {5, 3};
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.visibility.Keys(0, 0).end, 4);
  EXPECT_EQ(plan.visibility.Keys(0, 1).end, 5);
  EXPECT_EQ(plan.visibility.Keys(1, 0).end, 1);
}

TEST(PlanOptionsTest, WindowsOfAnyWidthAreTaken) {
  AttentionRequest request = Plain();
  request.options.alignment = Alignment::kTopLeft;
  request.options.window = Window{1, 1};
  EXPECT_EQ(Plan(request).visibility.Keys(0, 2).begin, 1);
  EXPECT_EQ(Plan(request).visibility.Keys(0, 2).end, 4);
  request.options.window = Window{0, {}};
  EXPECT_EQ(Plan(request).visibility.Keys(0, 2).begin, 2);
  EXPECT_EQ(Plan(request).visibility.Keys(0, 2).end, 5);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  request.options.window = Window{kMax, kMax};
  request.options.alignment = Alignment::kOffset;
  for (const int64_t offset : {-(int64_t{1} << 60), int64_t{1} << 60}) {
    request.options.q_offset = {offset};
    request.options.k_offset = {-offset};
    EXPECT_EQ(Plan(request).visibility.Keys(0, 2).size(), 5);
  }
}

TEST(PlanOptionsTest, APrefixIsVisibleToAll) {
  AttentionRequest request = Plain();
  request.options.causal = true;
  request.options.alignment = Alignment::kTopLeft;
  request.options.prefix_lengths = {2, 5};
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.visibility.Keys(0, 0).size(), 2);
  EXPECT_EQ(plan.visibility.Keys(0, 2).size(), 3);
  EXPECT_EQ(plan.visibility.Keys(1, 0).size(), 5);
}

TEST(PlanOptionsTest, KeysTakeTheDocumentsOfQueriesIfNoneAreGiven) {
  AttentionRequest request = Plain();
  request.key = Floats({2, 2, 3, 8});
  request.value = Floats({2, 2, 3, 6});
  request.options.documents = Documents{{1, 1, 2, 3, 3, 3}, {}};
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.visibility.Keys(0, 0).size(), 2);
  EXPECT_EQ(plan.visibility.Keys(0, 2).size(), 1);
  EXPECT_EQ(plan.visibility.Keys(1, 2).size(), 3);
  EXPECT_EQ(plan.flops, 2.0 * 4 * (8 + 6) * (2 * 2 + 1 + 3 * 3));
}

TEST(PlanOptionsTest, WithoutKeysDocumentsNeedNoneOfTheirIds) {
  AttentionRequest request = Plain();
  request.key = Floats({2, 2, 0, 8});
  request.value = Floats({2, 2, 0, 6});
  request.options.documents = Documents{{1, 1, 2, 3, 3, 3}, {}};
  EXPECT_TRUE(Plan(request).visibility.Keys(1, 2).empty());
}

TEST(PlanOptionsTest, MasksAndBiasesBroadcastFromTheRight) {
  struct Case {
    DataType dtype;
    I64s shape;
    int64_t batch, head, query;
    bool per_key;
  };
  for (const Case& c : {Case{DataType::kBool, {2, 4, 3, 5}, 60, 15, 5, true},
                        {DataType::kBit, {2, 4, 3, 5}, 12, 3, 1, true},
                        {DataType::kBool, {2, 1, 1, 5}, 5, 0, 0, true},
                        {DataType::kBool, {4, 1, 1}, 0, 1, 0, false},
                        {DataType::kBool, {3, 1}, 0, 0, 1, false},
                        {DataType::kBit, {5}, 0, 0, 0, true},
                        {DataType::kBool, {}, 0, 0, 0, false},
                        {DataType::kFloat32, {2, 1, 3, 5}, 60, 0, 20, true},
                        {DataType::kBfloat16, {4, 3, 5}, 0, 30, 10, true},
                        {DataType::kFloat16, {1, 4, 1, 1}, 0, 2, 0, false}}) {
    SCOPED_TRACE(DataTypeName(c.dtype) + ShapeString(c.shape));
    AttentionRequest request = Plain();
    const bool is_bias = IsFloat(c.dtype);
    if (is_bias) {
      request.options.biases = {TensorOf(c.dtype, c.shape)};
    } else {
      request.options.masks = {{TensorOf(c.dtype, c.shape), Polarity::kDrop}};
    }
    const AttentionPlan plan = Plan(request);
    ASSERT_EQ(plan.masks.size() + plan.biases.size(), 1U);
    const BroadcastPlan& broadcast = is_bias ? plan.biases[0] : plan.masks[0];
    EXPECT_EQ(broadcast.dtype, c.dtype);
    EXPECT_EQ(broadcast.batch, c.batch);
    EXPECT_EQ(broadcast.head, c.head);
    EXPECT_EQ(broadcast.query, c.query);
    EXPECT_EQ(broadcast.per_key, c.per_key);
    EXPECT_EQ(broadcast.bytes, *TensorBytes(c.dtype, c.shape));
    EXPECT_EQ(broadcast.keep, is_bias);
    EXPECT_EQ(plan.input_bytes, 4 * (192 + 160 + 120) + broadcast.bytes);
  }
}

TEST(PlanOptionsTest, MasksOverHugeExtentsBesideAZeroOverflowNothing) {
  constexpr int64_t kHuge = int64_t{1} << 61;
  AttentionRequest request;
  request.query = Floats({0, 4, kHuge, 8});
  request.key = request.value = Floats({0, 4, kHuge, 8});
  request.options.masks = {{TensorOf(DataType::kBool, {0, 4, kHuge, kHuge}), Polarity::kKeep}};
  request.options.biases = {Floats({0, 1, kHuge, kHuge})};
  request.options.q_lengths = {kHuge};
  request.options.kv_lengths = {kHuge};
  request.options.kv_starts = {kHuge};
  request.options.documents.emplace();
  request.options.rope.emplace().style = RopeStyle::kHalf;
  EXPECT_EQ(Plan(request).flops, 0);
}

TEST(PlanOutputsTest, ListedRowsKeepTheirOrder) {
  AttentionRequest request = Plain();
  request.outputs.weights = WeightsOutput{.mean = false, .rows = {2, 0}};
  const AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.weights->shape, (I64s{2, 4, 2, 5}));
  EXPECT_EQ(plan.WeightsSlot(0, 2), 0);
  EXPECT_EQ(plan.WeightsSlot(1, 0), 1);
  EXPECT_EQ(plan.WeightsSlot(1, 1), -1);
  EXPECT_EQ(plan.PairsAt(*plan.weights, 1, 3, 1), ((4 + 3) * 2 + 1) * 5);
}

TEST(PlanOutputsTest, AveragesHaveOneHead) {
  AttentionRequest request = Plain();
  request.outputs.weights = WeightsOutput{.mean = true, .rows = {}};
  const AttentionPlan plan = Plan(request);
  EXPECT_TRUE(plan.mean_weights);
  EXPECT_EQ(plan.weights->shape, (I64s{2, 1, 3, 5}));
  EXPECT_EQ(plan.WeightsSlot(0, 2), 2);
}

TEST(PlanOutputsTest, ResultsTakeTheQuerysTypeOrTheOneAskedFor) {
  AttentionRequest request = Plain();
  request.query = TensorOf(DataType::kBfloat16, {2, 4, 3, 8});
  request.outputs.lse = true;
  request.outputs.scores = ScoreStage::kUnscaled;
  AttentionPlan plan = Plan(request);
  EXPECT_EQ(plan.output_dtype, DataType::kBfloat16);
  EXPECT_EQ(plan.key_dtype, DataType::kFloat32);
  EXPECT_EQ(plan.output_bytes, 2 * 144 + 4 * 24 + 2 * 120);
  request.outputs.dtype = DataType::kFloat32;
  plan = Plan(request);
  EXPECT_EQ(plan.output_dtype, DataType::kFloat32);
  EXPECT_EQ(plan.output_bytes, 4 * (144 + 24 + 120));
}

// No two rows of results share memory, whatever is asked for.
TEST(PlanOutputsTest, EveryRowHasAPlaceOfItsOwn) {
  for (AttentionRequest request : {Plain(), Packed()}) {
    for (const I64s& listed : {I64s{}, I64s{2, 0}}) {
      request.outputs.lse = true;
      request.outputs.weights = WeightsOutput{.mean = false, .rows = listed};
      const AttentionPlan plan = Plan(request);
      std::set<int64_t> outputs;
      std::set<int64_t> lses;
      int64_t pairs = 0;
      std::set<int64_t> weights;
      for (int64_t b = 0; b < plan.dims.batch; ++b) {
        for (int64_t h = 0; h < plan.dims.heads; ++h) {
          for (int64_t q = 0; q < plan.queries.count[b]; ++q) {
            outputs.insert(plan.OutputAt(b, h, q));
            lses.insert(plan.LseAt(b, h, q));
            const int64_t slot = plan.WeightsSlot(b, q);
            if (slot < 0) continue;
            for (int64_t k = 0; k < plan.keys.count[b]; ++k, ++pairs) {
              weights.insert(plan.PairsAt(*plan.weights, b, h, slot) + k);
            }
          }
        }
      }
      EXPECT_EQ(static_cast<int64_t>(outputs.size()), plan.rows);
      EXPECT_EQ(static_cast<int64_t>(lses.size()), plan.rows);
      EXPECT_EQ(*lses.rbegin(), plan.rows - 1);
      EXPECT_EQ(pairs, plan.weights->elements);
      EXPECT_EQ(static_cast<int64_t>(weights.size()), pairs);
      EXPECT_EQ(*weights.rbegin(), pairs - 1);
    }
  }
}

}  // namespace
}  // namespace attnd
