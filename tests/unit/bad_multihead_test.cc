// Every wrong request for multi-head attention has a message of its own, which names the field,
// what came and what is allowed.
#include "tests/unit/bad_multihead.h"

#include <gtest/gtest.h>

namespace attnd {
namespace {

// --- numbers of heads -------------------------------------------------------------------

TEST_F(BadMultiHeadTest, Layout) {
  Expect("layout: is HEADS_FIRST; TOKENS_FIRST or PACKED is allowed for embeddings",
         [](Asked& a) { a.request.layout = Layout::kHeadsFirst; });
}

TEST_F(BadMultiHeadTest, Heads) {
  Expect("heads: is 0; 1 to 2147483647 is allowed", [](Asked& a) { a.request.heads = 0; });
  Expect("heads: is -4; 1 to 2147483647 is allowed", [](Asked& a) { a.request.heads = -4; });
  Expect("heads: is 2147483648; 1 to 2147483647 is allowed", [](Asked& a) { a.request.heads = int64_t{1} << 31; });
  Expect("heads: is 6: it does not divide the 32 columns of w_query", [](Asked& a) { a.request.heads = 6; });
  Expect("heads: is 2147483646: it does not divide the 32 columns of w_query",
         [](Asked& a) { a.request.heads = 2147483646; });
  Expect("kv_heads: is 0; a divisor of heads = 4 is allowed", [](Asked& a) { a.request.kv_heads = 0; });
  Expect("kv_heads: is -2; a divisor of heads = 4 is allowed", [](Asked& a) { a.request.kv_heads = -2; });
  Expect("kv_heads: is 3; a divisor of heads = 4 is allowed", [](Asked& a) { a.request.kv_heads = 3; });
  Expect("kv_heads: is 8; a divisor of heads = 4 is allowed", [](Asked& a) { a.request.kv_heads = 8; });
  Expect("kv_heads: is 4: w_key has 4 columns per head, w_query 8", [](Asked& a) { a.request.kv_heads = 4; });
  // Its default is `heads`.
  Expect("kv_heads: is 8: w_key has 2 columns per head, w_query 4", [](Asked& a) {
    a.request.heads = 8;
    a.request.kv_heads.reset();
  });
  Expect("kv_heads: is 2: it does not divide the 15 columns of w_key", [](Asked& a) { a.Put(Role::kKey, {7, 15}); });
  Expect("kv_heads: is 2: it does not divide the 13 columns of w_value", [](Asked& a) {
    a.Put(Role::kValue, {9, 13});
  });
  Expect("heads: is 4: heads * value_dim is 24, but w_output takes 23", [](Asked& a) {
    a.Put(Role::kOutput, {23, 10});
  });
  Expect("value_dim: is 8, but that of the weights is 6", [](Asked& a) { a.request.value_dim = 8; });
}

TEST_F(BadQkvTest, Heads) {
  Expect(
      "heads: is 2, kv_heads 1: w_qkv has 61 columns, no multiple of heads + 2 kv_heads; is value_dim another than "
      "head_dim?",
      [](Asked& a) {
        a.Put(Role::kQkv, {61, 6});
        a.request.heads = 2;
        a.request.kv_heads = 1;
        a.request.value_dim.reset();
      });
  Expect("heads: is 4: it does not divide the 25 columns of w_output's other side", [](Asked& a) {
    a.Put(Role::kOutput, {10, 25});
  });
  const std::string problem = ": with heads 4 and kv_heads 2, w_qkv's 60 columns leave no whole head_dim";
  Expect("value_dim: is 0" + problem, [](Asked& a) { a.request.value_dim = 0; });
  Expect("value_dim: is -6" + problem, [](Asked& a) { a.request.value_dim = -6; });
  Expect("value_dim: is 7" + problem, [](Asked& a) { a.request.value_dim = 7; });
  Expect("value_dim: is 30" + problem, [](Asked& a) { a.request.value_dim = 30; });
  Expect("value_dim: is 4611686018427387904" + problem, [](Asked& a) { a.request.value_dim = kHuge; });
  Expect("value_dim: is 6, but that of the weights is 3", [](Asked& a) {
    a.Put(Role::kOutput, {10, 12});
    a.Put(Role::kQkv, {54, 6});
  });
}

TEST_F(BadMultiHeadTest, VectorsThatGoWithTheHeads) {
  good_.Put(Role::kQueryNorm, {8}).Put(Role::kKeyNorm, {8}).Put(Role::kExtraKey, {16}).Put(Role::kExtraValue, {12});
  Expect("heads: is 4, kv_heads 2: query_norm has 16 elements where 8 are needed",
         [](Asked& a) { a.Put(Role::kQueryNorm, {16}); });
  Expect("heads: is 4, kv_heads 2: key_norm has 4 elements where 8 are needed",
         [](Asked& a) { a.Put(Role::kKeyNorm, {4}); });
}

TEST_F(BadQkvTest, VectorsThatGoWithTheHeads) {
  good_.Put(Role::kExtraKey, {16}).Put(Role::kExtraValue, {12});
  Expect("heads: is 4, kv_heads 2: bias_k has 8 elements where 16 are needed",
         [](Asked& a) { a.Put(Role::kExtraKey, {8}); });
  Expect("heads: is 4, kv_heads 2: bias_v has 16 elements where 12 are needed",
         [](Asked& a) { a.Put(Role::kExtraValue, {16}); });
}

// --- embeddings -------------------------------------------------------------------------

TEST_F(BadMultiHeadTest, Ranks) {
  Expect("query.shape: is []; [batch, len, width] or [len, width] is allowed",
         [](Asked& a) { a.request.query = Zeros({}); });
  Expect("query.shape: is [6]; [batch, len, width] or [len, width] is allowed",
         [](Asked& a) { a.request.query = Zeros({6}); });
  Expect("query.shape: is [2, 1, 3, 6]; [batch, len, width] or [len, width] is allowed", [](Asked& a) {
    a.request.query = Zeros({2, 1, 3, 6});
  });
  Expect("key.shape: is [10, 7]; [batch, len, width] is allowed, as query's", [](Asked& a) {
    a.request.key = Zeros({10, 7});
  });
  Expect("value.shape: is [2, 5, 3, 3]; [batch, len, width] is allowed, as query's", [](Asked& a) {
    a.request.value = Zeros({2, 5, 3, 3});
  });
  Expect("key.shape: is [1, 5, 7]; [len, width] is allowed, as query's", [](Asked& a) {
    a.request.query = Zeros({3, 6});
    a.request.key = Zeros({1, 5, 7});
  });
}

TEST_F(BadMultiHeadTest, Widths) {
  Expect("query.shape: is [2, 3, 5]: the width is 5, but the weights take 6", [](Asked& a) {
    a.request.query = Zeros({2, 3, 5});
  });
  Expect("key.shape: is [2, 5, 6]: the width is 6, but the weights take 7", [](Asked& a) {
    a.request.key = Zeros({2, 5, 6});
  });
  Expect("value.shape: is [2, 5, 0]: the width is 0, but the weights take 9", [](Asked& a) {
    a.request.value = Zeros({2, 5, 0});
  });
  Expect("key: is not given, and query has width 6 where the weights take 7", [](Asked& a) { a.request.key.reset(); });
  Expect("value: is not given, and key has width 7 where the weights take 9",
         [](Asked& a) { a.request.value.reset(); });
}

TEST_F(BadMultiHeadTest, BatchesAndLengths) {
  Expect("key.shape: is [3, 5, 7]: batch is 3, but query has 2", [](Asked& a) { a.request.key = Zeros({3, 5, 7}); });
  Expect("value.shape: is [1, 5, 9]: batch is 1, but query has 2", [](Asked& a) {
    a.request.value = Zeros({1, 5, 9});
  });
  Expect("value.shape: is [2, 4, 9]: kv_len is 4, but key has 5", [](Asked& a) { a.request.value = Zeros({2, 4, 9}); });
  Expect("value.shape: is [2, 5, 9]: kv_len is 5, but query, which is the key, has 3", [](Asked& a) {
    a.request.key.reset();
    a.Put(Role::kKey, {6, 16});
  });
}

TEST_F(BadMultiHeadTest, Elements) {
  Expect("query.dtype: is BOOL; FLOAT32, FLOAT16 or BFLOAT16 is allowed", [](Asked& a) {
    a.request.query = Zeros({2, 3, 6}, DataType::kBool);
  });
  Expect("key.dtype: is BIT; FLOAT32, FLOAT16 or BFLOAT16 is allowed", [](Asked& a) {
    a.request.key = Zeros({2, 5, 7}, DataType::kBit);
  });
  Expect("query.data: has 144 bytes; shape [2, 3, 6] of FLOAT16 needs 72",
         [](Asked& a) { a.request.query.dtype = DataType::kFloat16; });
  Expect("value.data: has 0 bytes; shape [2, 5, 9] of FLOAT32 needs 360",
         [](Asked& a) { a.request.value->bytes = Fragments(); });
  Expect("query.shape: is [2, -3, 6]; extents are >= 0", [](Asked& a) { a.request.query.shape[1] = -3; });
  Expect("key.shape: is [2, 4611686018427387904, 7]: more bytes than 2^63 - 1",
         [](Asked& a) { a.request.key->shape[1] = kHuge; });
}

// Rows of no bytes: whatever their number, planning looks at none of them.
TEST_F(BadMultiHeadTest, HugeShapesOfNothing) {
  for (const PositionEncoding encoding : {PositionEncoding::kNone, PositionEncoding::kSinusoidal}) {
    Asked asked = good_;
    asked.request.position_encoding = encoding;
    asked.request.query = Zeros({kHuge, 0, 6});
    asked.request.key = Zeros({kHuge, 0, 7});
    asked.request.value = Zeros({kHuge, 0, 9});
    asked.request.outputs = {.lse = true, .weights = WeightsOutput(), .scores = ScoreStage::kScaled};
    asked.request.explain = true;
    const auto plan = Plan(asked, limits_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->output_shape, (I64s{kHuge, 0, 10}));
    EXPECT_EQ(plan->bytes, 0);
    EXPECT_EQ(plan->attention.output_bytes, 0);
  }
  Asked asked = good_;
  asked.request.query = Zeros({0, kHuge, 6});
  asked.request.key = Zeros({0, kHuge, 7});
  asked.request.value = Zeros({0, kHuge, 9});
  EXPECT_TRUE(Plan(asked, limits_).ok()) << Plan(asked, limits_).status();
}

TEST_F(BadMultiHeadTest, EveryPositionsOfHugeShapesOfNothingAreInTheTable) {
  Asked asked = good_;
  asked.request.position_encoding = PositionEncoding::kLearned;
  asked.request.query = Zeros({kHuge, 0, 6});
  asked.request.key.reset();
  asked.request.value.reset();
  asked.Put(Role::kKey, {6, 16}).Put(Role::kValue, {6, 12}).Put(Role::kPositionTable, {1, 6});
  EXPECT_TRUE(Plan(asked, limits_).ok()) << Plan(asked, limits_).status();
  asked.request.options.alignment = Alignment::kOffset;
  asked.request.options.q_offset = {7};
  EXPECT_TRUE(Plan(asked, limits_).ok()) << Plan(asked, limits_).status();
}

TEST_F(BadMultiHeadTest, ProjectionsThatOverflow) {
  constexpr int64_t kRows = int64_t{1} << 20;
  const std::vector<std::byte> bytes(kRows * sizeof(float));
  MultiHeadRequest request;
  request.query = {DataType::kFloat32, {kRows, 1}, Fragments(bytes)};
  request.heads = 1;
  WeightShapes shapes;
  constexpr int64_t kMostColumns = int64_t{1} << 42;
  shapes.extents[Role::kQuery] = {1, kMostColumns};
  shapes.extents[Role::kKey] = {1, kMostColumns};
  shapes.extents[Role::kValue] = {1, 1};
  limits_.max_head_dim = std::numeric_limits<int64_t>::max();
  const absl::Status status = PlanMultiHead(request, shapes, limits_).status();
  EXPECT_EQ(std::string(status.message()),
            "query.shape: projected it would be [1, 1048576, 4398046511104]: more bytes than 2^63 - 1");
}

TEST_F(BadMultiHeadTest, Packed) {
  good_.request.layout = Layout::kPacked;
  good_.request.query = Zeros({6, 6});
  good_.request.key = Zeros({10, 7});
  good_.request.value = Zeros({10, 9});
  good_.request.options.q_lengths = {2, 4};
  good_.request.options.kv_lengths = {7, 3};
  Expect("query.shape: is [2, 3, 6]; [total_len, width] is allowed in PACKED", [](Asked& a) {
    a.request.query = Zeros({2, 3, 6});
  });
  Expect("key.shape: is [2, 5, 7]; [total_len, width] is allowed in PACKED", [](Asked& a) {
    a.request.key = Zeros({2, 5, 7});
  });
  Expect("value.shape: is [9, 9]: kv_len is 9, but key has 10", [](Asked& a) { a.request.value = Zeros({9, 9}); });
  Expect("options.kv_lengths: has 0 elements, q_lengths 2; in the layout PACKED both have one per sequence",
         [](Asked& a) { a.request.options.kv_lengths.clear(); });
  Expect("options.q_lengths: is required in the layout PACKED", [](Asked& a) {
    a.request.options.q_lengths.clear();
    a.request.options.kv_lengths.clear();
  });
  Expect("options.q_lengths: adds up to 5, but query has 6 tokens", [](Asked& a) {
    a.request.options.q_lengths = I64s{2, 3};
  });
  Expect("options.kv_lengths: adds up to 11, but key has 10 tokens", [](Asked& a) {
    a.request.options.kv_lengths = I64s{8, 3};
  });
  Expect("options.kv_lengths: has -1; at least 0 is allowed", [](Asked& a) {
    a.request.options.kv_lengths = I64s{11, -1};
  });
}

// --- options of attention, which are checked for the projected tensors -----------------

TEST_F(BadMultiHeadTest, OptionsAreThoseOfAttention) {
  Expect(
      "options.alignment: is not set, but options.causal is and q_len = 3 differs from kv_len = 5; say TOP_LEFT, "
      "BOTTOM_RIGHT or OFFSET",
      [](Asked& a) { a.request.options.causal = true; });
  Expect("options.sinks.shape: is [2]; one element per query head, [4], is allowed",
         [](Asked& a) { a.request.options.sinks = Zeros({2}); });
  Expect("options.q_lengths: has 4; 0 to q_len = 3 is allowed", [](Asked& a) { a.request.options.q_lengths = {4}; });
  Expect("outputs.dtype: is BOOL; FLOAT32, FLOAT16 or BFLOAT16 is allowed",
         [](Asked& a) { a.request.outputs.dtype = DataType::kBool; });
  Expect("outputs.weights.rows: has 3; queries 0 to 2 are there", [](Asked& a) {
    a.request.outputs.weights = WeightsOutput{false, {3}};
  });
  Expect("outputs.scores.stage: is not set; say UNSCALED, SCALED, CAPPED or BIASED",
         [](Asked& a) { a.request.outputs.scores = ScoreStage::kUnset; });
}

// --- positions --------------------------------------------------------------------------

TEST_F(BadMultiHeadTest, PositionsNeedAnAlignmentWhereLengthsDiffer) {
  Expect(
      "options.alignment: is not set, but position_encoding is and q_len differs from kv_len; say TOP_LEFT, "
      "BOTTOM_RIGHT or OFFSET",
      [](Asked& a) { a.request.position_encoding = PositionEncoding::kSinusoidal; });
  good_.request.layout = Layout::kPacked;
  good_.request.query = Zeros({6, 6});
  good_.request.key = Zeros({6, 7});
  good_.request.value = Zeros({6, 9});
  good_.request.options.q_lengths = {2, 4};
  good_.request.options.kv_lengths = {2, 4};
  good_.request.position_encoding = PositionEncoding::kSinusoidal;
  Asked asked = good_;
  asked.request.options.kv_lengths = {4, 2};
  EXPECT_EQ(FieldOf(Plan(asked, limits_).status()), "options.alignment");
}

TEST_F(BadQkvTest, LearnedPositions) {
  good_.Put(Role::kPositionTable, {5, 6});
  good_.request.position_encoding = PositionEncoding::kLearned;
  good_.request.options.alignment = Alignment::kOffset;
  Expect("position_encoding: is LEARNED, but the weights have no position_table",
         [](Asked& a) { a.Drop(Role::kPositionTable); });
  Expect("position_encoding: is LEARNED, but query has width 6 and position_table [5, 7]", [](Asked& a) {
    a.Put(Role::kPositionTable, {5, 7});
  });
  Expect("position_encoding: is LEARNED, and the query of entry 0 has positions 0 to 2; position_table has 0 to 1",
         [](Asked& a) {
           a.Put(Role::kPositionTable, {2, 6});
         });
  Expect("position_encoding: is LEARNED, and the query of entry 0 has positions 3 to 5; position_table has 0 to 4",
         [](Asked& a) { a.request.options.q_offset = {3}; });
  Expect("position_encoding: is LEARNED, and the key of entry 1 has positions -1 to 1; position_table has 0 to 4",
         [](Asked& a) {
           a.request.options.k_offset = I64s{2, -1};
         });
  Expect(
      "position_encoding: is LEARNED, and the key of entry 0 has positions 1152921504606846976 to "
      "1152921504606846978; position_table has 0 to 4",
      [](Asked& a) { a.request.options.k_offset = {int64_t{1} << 60}; });
  // Outside the lengths positions may be anything.
  good_.request.options.q_offset = {3};
  good_.request.options.q_lengths = I64s{2, 0};
  EXPECT_TRUE(Plan(good_, limits_).ok()) << Plan(good_, limits_).status();
}

TEST_F(BadMultiHeadTest, LearnedPositionsOfOtherWidths) {
  good_.request.options.alignment = Alignment::kTopLeft;
  const auto spoil = [](int64_t width) {
    return [width](Asked& a) {
      a.Put(Role::kPositionTable, {9, width});
      a.request.position_encoding = PositionEncoding::kLearned;
    };
  };
  Expect("position_encoding: is LEARNED, but key has width 7 and position_table [9, 6]", spoil(6));
  Expect("position_encoding: is LEARNED, but query has width 6 and position_table [9, 9]", spoil(9));
}

TEST_F(BadMultiHeadTest, Epsilons) {
  Expect("norm_epsilon: is -1; finite numbers >= 0 are allowed", [](Asked& a) { a.request.norm_epsilon = -1; });
  Expect("norm_epsilon: is nan; finite numbers >= 0 are allowed", [](Asked& a) { a.request.norm_epsilon = kNan; });
  Expect("norm_epsilon: is inf; finite numbers >= 0 are allowed", [](Asked& a) { a.request.norm_epsilon = kInf; });
}

// --- blocks -----------------------------------------------------------------------------

TEST_F(BadBlockTest, Fields) {
  Expect("block.norm_placement: is not set; say PRE or POST",
         [](Asked& a) { a.request.block->placement = NormPlacement::kUnset; });
  Expect("block.norm: is not set; say LAYER_NORM or RMS_NORM",
         [](Asked& a) { a.request.block->norm = NormKind::kUnset; });
  Expect("block.activation: is not set; say GELU, GELU_TANH, RELU or SWIGLU",
         [](Asked& a) { a.request.block->activation = Activation::kUnset; });
  Expect("block.norm_epsilon: is -1e-05; finite numbers >= 0 are allowed",
         [](Asked& a) { a.request.block->norm_epsilon = -1e-5F; });
  Expect("block.norm_epsilon: is nan; finite numbers >= 0 are allowed",
         [](Asked& a) { a.request.block->norm_epsilon = kNan; });
}

TEST_F(BadBlockTest, FieldsAndWeights) {
  const auto drop_ffn = [](Asked& a) {
    for (const Role role : {Role::kFfnNormScale, Role::kFfnNormShift, Role::kUp, Role::kUpBias, Role::kGate,
                            Role::kGateBias, Role::kDown, Role::kDownBias}) {
      a.Drop(role);
    }
  };
  Expect("block.norm: is RMS_NORM, but the weights have a shift of a norm, which only LAYER_NORM uses",
         [](Asked& a) { a.request.block->norm = NormKind::kRmsNorm; });
  Expect("block.activation: is not SWIGLU, but the weights have block.w_gate",
         [](Asked& a) { a.request.block->activation = Activation::kGelu; });
  Expect("block.activation: is SWIGLU, but the weights have no block.w_gate",
         [](Asked& a) { a.Drop(Role::kGate).Drop(Role::kGateBias); });
  Expect("block.activation: is set, but the weights have no block.w_up", drop_ffn);
  Expect("block: is given, but the weights have no block.attention_norm_scale", [&](Asked& a) {
    drop_ffn(a);
    a.Drop(Role::kAttentionNormScale).Drop(Role::kAttentionNormShift);
  });
  Expect("block: is given, but attention's output has width 4 and the query 8, which are added", [](Asked& a) {
    a.Put(Role::kQkv, {8, 20}).Put(Role::kQkvBias, {20}).Drop(Role::kOutput).Drop(Role::kOutputBias);
    a.request.value_dim = 2;
  });
}

TEST_F(BadBlockTest, PreBlockOfKeysAtOtherPositions) {
  good_.request.position_encoding = PositionEncoding::kSinusoidal;
  good_.request.options.alignment = Alignment::kOffset;
  Expect("position_encoding: is set, and the keys of a PRE block are the queries at other positions; send key",
         [](Asked& a) {
           a.request.options.k_offset = I64s{0, 1};
         });
  good_.request.options.q_offset = {1};
  good_.request.options.k_offset = {1};
  EXPECT_TRUE(Plan(good_, limits_).ok()) << Plan(good_, limits_).status();
  good_.request.options.k_offset = {2};
  good_.request.key = Zeros({2, 3, 8});
  EXPECT_TRUE(Plan(good_, limits_).ok()) << Plan(good_, limits_).status();
  good_.request.key.reset();
  good_.request.block->placement = NormPlacement::kPost;
  EXPECT_TRUE(Plan(good_, limits_).ok()) << Plan(good_, limits_).status();
}

// --- limits -----------------------------------------------------------------------------

TEST_F(BadMultiHeadTest, HeadDimLimit) {
  limits_.max_head_dim = 8;
  Expect("heads: is 2, which makes head_dim 16; the limit is 8", [](Asked& a) {
    a.request.heads = 2;
    a.request.kv_heads = 1;
    a.Put(Role::kValue, {9, 6}).Put(Role::kOutput, {12, 10});
  });
  Expect("heads: is 4, which makes value_dim 9; the limit is 8", [](Asked& a) {
    a.Put(Role::kValue, {9, 18}).Put(Role::kOutput, {36, 10});
  });
}

TEST_F(BadMultiHeadTest, OutputLimit) {
  // 2 * 3 * 10 floats.
  limits_.max_output_bytes = 24 * 6 * 4;
  Expect("query.shape: the results would pass the limit of 576 bytes", [](Asked& a) {
    a.Put(Role::kOutput, {24, 25});
  });
  Expect("outputs.lse: output and lse would pass the limit of 576 bytes for all results",
         [](Asked& a) { a.request.outputs.lse = true; });
  Expect("outputs.weights: weights of shape [2, 4, 3, 5] would pass the limit of 576 bytes for all results",
         [](Asked& a) { a.request.outputs.weights = WeightsOutput(); });
  Expect("outputs.explain: the results would pass the limit of 576 bytes", [](Asked& a) { a.request.explain = true; });
  Expect("query.shape: the output would pass the limit of 576 bytes for all results", [](Asked& a) {
    a.request.query = Zeros({2, 16, 6});
  });
}

TEST_F(BadMultiHeadTest, LimitsAreThoseOfWhatIsReturned) {
  // Output [2, 3, 10], query [2, 4, 3, 8], key [2, 2, 5, 8], value [2, 2, 5, 6], context
  // [2, 3, 24], attention [2, 3, 10].
  const int64_t output = 60 * 4;
  const int64_t explain = (192 + 160 + 120 + 144 + 60) * 4;
  good_.request.explain = true;
  const auto plan = Plan(good_, limits_);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_GE(plan->attention.output_bytes, output + explain);
  EXPECT_LE(plan->attention.output_bytes, output + explain + output);
  limits_.max_output_bytes = plan->attention.output_bytes;
  EXPECT_TRUE(Plan(good_, limits_).ok()) << Plan(good_, limits_).status();
  --limits_.max_output_bytes;
  EXPECT_EQ(FieldOf(Plan(good_, limits_).status()), "outputs.explain");
}

}  // namespace
}  // namespace attnd
