#include "core/attention/plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int64_t kMaxOffset = int64_t{1} << 60;

// Bytes to describe; the plan reads lengths only, never these.
std::span<const std::byte> SomeBytes(size_t n) {
  static const std::vector<std::byte> bytes(size_t{1} << 20);
  EXPECT_LE(n, bytes.size());
  return std::span(bytes).first(n);
}

// A float32 tensor of that shape with the right number of bytes.
TensorView TensorOf(std::vector<int64_t> shape) {
  size_t elements = 1;
  for (const int64_t extent : shape) elements *= static_cast<size_t>(extent);
  return {DataType::kFloat32, std::move(shape), Fragments(SomeBytes(elements * sizeof(float)))};
}

AttentionRequest RequestOf(Layout layout, std::vector<int64_t> query, std::vector<int64_t> key,
                           std::vector<int64_t> value) {
  AttentionRequest request;
  request.layout = layout;
  request.query = TensorOf(std::move(query));
  request.key = TensorOf(std::move(key));
  request.value = TensorOf(std::move(value));
  return request;
}

// batch 2, heads 4, kv_heads 2, q_len 3, kv_len 5, head_dim 8, value_dim 6.
AttentionRequest HeadsFirst() { return RequestOf(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}); }
AttentionRequest TokensFirst() { return RequestOf(Layout::kTokensFirst, {2, 3, 4, 8}, {2, 5, 2, 8}, {2, 5, 2, 6}); }
AttentionRequest TokensFirst3D() {
  AttentionRequest request = RequestOf(Layout::kTokensFirst, {2, 3, 32}, {2, 5, 16}, {2, 5, 12});
  request.heads = 4;
  request.kv_heads = 2;
  return request;
}

absl::StatusOr<AttentionPlan> Plan(const AttentionRequest& request) { return PlanAttention(request, {}); }

void ExpectDims(const Dims& dims, const Dims& expected) {
  EXPECT_EQ(dims.batch, expected.batch);
  EXPECT_EQ(dims.heads, expected.heads);
  EXPECT_EQ(dims.kv_heads, expected.kv_heads);
  EXPECT_EQ(dims.q_len, expected.q_len);
  EXPECT_EQ(dims.kv_len, expected.kv_len);
  EXPECT_EQ(dims.head_dim, expected.head_dim);
  EXPECT_EQ(dims.value_dim, expected.value_dim);
}

void ExpectStrides(const Strides& strides, int64_t batch, int64_t head, int64_t token) {
  EXPECT_EQ(strides.batch, batch);
  EXPECT_EQ(strides.head, head);
  EXPECT_EQ(strides.token, token);
}

TEST(PlanTest, HeadsFirstIsUnderstood) {
  const auto plan = Plan(HeadsFirst());
  ASSERT_THAT(plan, IsOk());
  ExpectDims(plan->dims, {2, 4, 2, 3, 5, 8, 6});
  EXPECT_EQ(plan->dims.group(), 2);
  ExpectStrides(plan->query, 96, 24, 8);
  ExpectStrides(plan->key, 80, 40, 8);
  ExpectStrides(plan->value, 60, 30, 6);
  ExpectStrides(plan->output, 72, 18, 6);
  EXPECT_EQ(plan->output_shape, (std::vector<int64_t>{2, 4, 3, 6}));
  EXPECT_EQ(plan->rows, 24);
}

TEST(PlanTest, TokensFirstIsUnderstood) {
  const auto plan = Plan(TokensFirst());
  ASSERT_THAT(plan, IsOk());
  ExpectDims(plan->dims, {2, 4, 2, 3, 5, 8, 6});
  ExpectStrides(plan->query, 96, 8, 32);
  ExpectStrides(plan->key, 80, 8, 16);
  ExpectStrides(plan->value, 60, 6, 12);
  ExpectStrides(plan->output, 72, 6, 24);
  EXPECT_EQ(plan->output_shape, (std::vector<int64_t>{2, 3, 4, 6}));
}

TEST(PlanTest, ThreeDimensionsAreSplitIntoHeads) {
  const auto plan = Plan(TokensFirst3D());
  ASSERT_THAT(plan, IsOk());
  ExpectDims(plan->dims, {2, 4, 2, 3, 5, 8, 6});
  ExpectStrides(plan->query, 96, 8, 32);
  ExpectStrides(plan->key, 80, 8, 16);
  ExpectStrides(plan->value, 60, 6, 12);
  ExpectStrides(plan->output, 72, 6, 24);
  EXPECT_EQ(plan->output_shape, (std::vector<int64_t>{2, 3, 24}));
}

TEST(PlanTest, TwoDimensionsAreOneEntryAndOneHead) {
  const auto plan = Plan(RequestOf(Layout::kHeadsFirst, {3, 8}, {5, 8}, {5, 6}));
  ASSERT_THAT(plan, IsOk());
  ExpectDims(plan->dims, {1, 1, 1, 3, 5, 8, 6});
  EXPECT_EQ(plan->output_shape, (std::vector<int64_t>{3, 6}));
  EXPECT_EQ(plan->query.token, 8);
  EXPECT_EQ(plan->key.token, 8);
  EXPECT_EQ(plan->value.token, 6);
  EXPECT_EQ(plan->output.token, 6);
}

TEST(PlanTest, HeadCountsThatAgreeAreAccepted) {
  for (AttentionRequest request : {HeadsFirst(), TokensFirst()}) {
    request.heads = 4;
    request.kv_heads = 2;
    EXPECT_THAT(Plan(request), IsOk());
  }
  AttentionRequest two = RequestOf(Layout::kHeadsFirst, {3, 8}, {5, 8}, {5, 6});
  two.heads = 1;
  two.kv_heads = 1;
  EXPECT_THAT(Plan(two), IsOk());
}

TEST(PlanTest, ScaleDefaultsToOneOverTheRootOfHeadDim) {
  const auto plan = Plan(HeadsFirst());
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->scale, static_cast<float>(1 / std::sqrt(8.0)));
}

TEST(PlanTest, AnyFiniteScaleIsTaken) {
  for (const float scale : {0.0F, -0.0F, -1.5F, 1e-42F, std::numeric_limits<float>::max()}) {
    AttentionRequest request = HeadsFirst();
    request.options.scale = scale;
    const auto plan = Plan(request);
    ASSERT_THAT(plan, IsOk());
    EXPECT_EQ(plan->scale, scale);
  }
}

TEST(PlanTest, FlopsCountVisiblePairs) {
  AttentionRequest request = HeadsFirst();
  EXPECT_EQ(Plan(request)->flops, 2.0 * 2 * 4 * 3 * 5 * (8 + 6));
  request.options.causal = true;
  request.options.alignment = Alignment::kTopLeft;
  EXPECT_EQ(Plan(request)->flops, 2.0 * 2 * 4 * (1 + 2 + 3) * (8 + 6));
  request.options.alignment = Alignment::kBottomRight;
  EXPECT_EQ(Plan(request)->flops, 2.0 * 2 * 4 * (3 + 4 + 5) * (8 + 6));
  request.options.alignment = Alignment::kOffset;
  request.options.q_offset = {-3, 4};
  EXPECT_EQ(Plan(request)->flops, 2.0 * 4 * (0 + 15) * (8 + 6));
}

TEST(PlanTest, BytesAreThoseOfTheTensors) {
  AttentionRequest request = HeadsFirst();
  EXPECT_EQ(Plan(request)->input_bytes, 4 * (192 + 160 + 120));
  EXPECT_EQ(Plan(request)->output_bytes, 4 * 144);
  request.outputs.lse = true;
  EXPECT_EQ(Plan(request)->output_bytes, 4 * (144 + 24));
  request.outputs.weights.emplace();
  EXPECT_EQ(Plan(request)->output_bytes, 4 * (144 + 24 + 120));
  EXPECT_TRUE(Plan(request)->wants_lse);
  EXPECT_TRUE(Plan(request)->weights.has_value());
}

TEST(PlanTest, AlignmentSetsTheVisibleKeys) {
  AttentionRequest request = HeadsFirst();
  EXPECT_EQ(Plan(request)->visibility.Keys(0, 0).size(), 5);
  request.options.causal = true;
  request.options.alignment = Alignment::kTopLeft;
  EXPECT_EQ(Plan(request)->visibility.Keys(1, 0).size(), 1);
  request.options.alignment = Alignment::kBottomRight;
  EXPECT_EQ(Plan(request)->visibility.Keys(1, 0).size(), 3);
  request.options.alignment = Alignment::kOffset;
  EXPECT_EQ(Plan(request)->visibility.Keys(1, 0).size(), 1) << "both offsets default to 0";
  request.options.q_offset = {10};
  request.options.k_offset = {9, 12};
  EXPECT_EQ(Plan(request)->visibility.Keys(0, 0).size(), 2);
  EXPECT_EQ(Plan(request)->visibility.Keys(1, 0).size(), 0);
  EXPECT_EQ(Plan(request)->visibility.Keys(1, 2).size(), 1);
}

TEST(PlanTest, CausalSquaresNeedNoAlignment) {
  AttentionRequest request = RequestOf(Layout::kHeadsFirst, {5, 8}, {5, 8}, {5, 6});
  request.options.causal = true;
  const auto plan = Plan(request);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->visibility.Keys(0, 0).size(), 1);
}

TEST(PlanTest, AlignmentMattersOnlyToOptionsThatUsePositions) {
  AttentionRequest request = HeadsFirst();
  for (const Alignment alignment :
       {Alignment::kUnset, Alignment::kTopLeft, Alignment::kBottomRight, Alignment::kOffset}) {
    request.options.alignment = alignment;
    const auto plan = Plan(request);
    ASSERT_THAT(plan, IsOk());
    EXPECT_EQ(plan->visibility.Keys(0, 0).size(), 5);
  }
}

TEST(PlanTest, TheLargestOffsetsAreTaken) {
  AttentionRequest request = HeadsFirst();
  request.options.causal = true;
  request.options.alignment = Alignment::kOffset;
  request.options.q_offset = {kMaxOffset};
  request.options.k_offset = {-kMaxOffset};
  ASSERT_THAT(Plan(request), IsOk());
  EXPECT_EQ(Plan(request)->visibility.Keys(0, 0).size(), 5);
  request.options.q_offset = {-kMaxOffset};
  request.options.k_offset = {kMaxOffset};
  ASSERT_THAT(Plan(request), IsOk());
  EXPECT_EQ(Plan(request)->visibility.Keys(0, 2).size(), 0);
  EXPECT_EQ(Plan(request)->flops, 0);
}

TEST(PlanTest, EmptyBatchesAndSequencesAreFine) {
  const auto no_batch = Plan(RequestOf(Layout::kHeadsFirst, {0, 4, 3, 8}, {0, 2, 5, 8}, {0, 2, 5, 6}));
  ASSERT_THAT(no_batch, IsOk());
  EXPECT_EQ(no_batch->rows, 0);
  EXPECT_EQ(no_batch->output_shape, (std::vector<int64_t>{0, 4, 3, 6}));

  const auto no_queries = Plan(RequestOf(Layout::kTokensFirst, {2, 0, 4, 8}, {2, 5, 2, 8}, {2, 5, 2, 6}));
  ASSERT_THAT(no_queries, IsOk());
  EXPECT_EQ(no_queries->rows, 0);
  EXPECT_EQ(no_queries->output_shape, (std::vector<int64_t>{2, 0, 4, 6}));

  const auto no_keys = Plan(RequestOf(Layout::kHeadsFirst, {3, 8}, {0, 8}, {0, 6}));
  ASSERT_THAT(no_keys, IsOk());
  EXPECT_EQ(no_keys->rows, 3);
  EXPECT_EQ(no_keys->flops, 0);
  EXPECT_EQ(no_keys->output_bytes, 4 * 18);
}

// Extents that are only possible beside a 0: their products must not overflow unnoticed.
TEST(PlanTest, HugeExtentsBesideAZeroOverflowNothing) {
  constexpr int64_t kHuge = int64_t{1} << 62;
  const std::vector<AttentionRequest> requests = {
      RequestOf(Layout::kHeadsFirst, {0, 1, kHuge, 8}, {0, 1, kHuge, 8}, {0, 1, kHuge, 6}),
      RequestOf(Layout::kHeadsFirst, {kHuge, 4, 0, 8}, {kHuge, 2, 0, 8}, {kHuge, 2, 0, 6}),
      RequestOf(Layout::kTokensFirst, {0, kHuge, 4, 8}, {0, kHuge, 2, 8}, {0, kHuge, 2, 6}),
      RequestOf(Layout::kTokensFirst, {kHuge, 0, 4, 8}, {kHuge, 0, 4, 8}, {kHuge, 0, 4, 6}),
  };
  for (AttentionRequest request : requests) {
    request.outputs = {.lse = true, .weights = WeightsOutput()};
    request.options.causal = true;
    for (const Alignment alignment : {Alignment::kTopLeft, Alignment::kBottomRight}) {
      SCOPED_TRACE(ShapeString(request.query.shape));
      request.options.alignment = alignment;
      const auto plan = Plan(request);
      if (!plan.ok()) {
        EXPECT_THAT(plan, NamesField(absl::StatusCode::kInvalidArgument, "query.shape"));
        continue;
      }
      EXPECT_EQ(plan->rows, 0);
      EXPECT_EQ(plan->output_bytes, 0);
      EXPECT_EQ(plan->flops, 0);
    }
  }
}

TEST(PlanTest, TensorsMayComeInPieces) {
  AttentionRequest request = HeadsFirst();
  request.query.bytes = Fragments();
  for (const int64_t piece : {1, 2, 3, 762}) request.query.bytes.Append(SomeBytes(static_cast<size_t>(piece)));
  EXPECT_THAT(Plan(request), IsOk());
}

TEST(PlanTest, OutputsUpToTheLimitAreTaken) {
  AttentionRequest request = HeadsFirst();
  request.outputs = {.lse = true, .weights = WeightsOutput()};
  constexpr int64_t kBytes = int64_t{4} * (144 + 24 + 120);
  EXPECT_THAT(PlanAttention(request, {.max_output_bytes = kBytes}), IsOk());
  EXPECT_THAT(PlanAttention(request, {.max_output_bytes = kBytes - 1}),
              NamesField(absl::StatusCode::kInvalidArgument, "outputs.weights"));
}

TEST(PlanTest, HeadDimsUpToTheLimitAreTaken) {
  EXPECT_THAT(PlanAttention(HeadsFirst(), {.max_head_dim = 8}), IsOk());
  EXPECT_THAT(PlanAttention(HeadsFirst(), {.max_head_dim = 7}),
              NamesField(absl::StatusCode::kInvalidArgument, "query.shape"));
  EXPECT_THAT(PlanAttention(RequestOf(Layout::kHeadsFirst, {3, 6}, {5, 6}, {5, 8}), {.max_head_dim = 7}),
              NamesField(absl::StatusCode::kInvalidArgument, "value.shape"));
}

TEST(PlanTest, AnOversizedOutputIsTheQuerysFault) {
  EXPECT_THAT(PlanAttention(HeadsFirst(), {.max_output_bytes = 4 * 144 - 1}),
              NamesField(absl::StatusCode::kInvalidArgument, "query.shape"));
}

TEST(PlanTest, AnOversizedLimitDoesNotOverflow) {
  AttentionRequest request = HeadsFirst();
  request.outputs = {.lse = true, .weights = WeightsOutput()};
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(PlanAttention(request, {.max_head_dim = kMax, .max_output_bytes = kMax}), IsOk());
}

}  // namespace
}  // namespace attnd
