// Every wrong combination of options and outputs has a message of its own, which names the
// field, what came and what is allowed.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/plan.h"
#include "core/errors.h"

namespace attnd {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kFar = int64_t{1} << 60;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using R = AttentionRequest;
using I64s = std::vector<int64_t>;
using I32s = std::vector<int32_t>;

TensorView TensorOf(DataType dtype, I64s shape) {
  static const std::vector<std::byte> bytes(size_t{1} << 16);
  const auto n = static_cast<size_t>(TensorBytes(dtype, shape).value());
  EXPECT_LE(n, bytes.size());
  return {dtype, std::move(shape), Fragments(std::span(bytes).first(n))};
}
TensorView Floats(I64s shape) { return TensorOf(DataType::kFloat32, std::move(shape)); }

Mask MaskOf(DataType dtype, I64s shape, Polarity polarity = Polarity::kKeep) {
  return {TensorOf(dtype, std::move(shape)), polarity};
}

// Refuses spoiled copies of a good request.
class BadOptionsTest : public testing::Test {
 protected:
  using Spoil = std::function<void(R&)>;

  // batch 2, heads 4, kv_heads 2, q_len 3, kv_len 5, head_dim 8, value_dim 6.
  BadOptionsTest() {
    good_.query = Floats({2, 4, 3, 8});
    good_.key = Floats({2, 2, 5, 8});
    good_.value = Floats({2, 2, 5, 6});
  }

  // `message` is "field: problem".
  void Expect(const std::string& message, const Spoil& spoil) {
    SCOPED_TRACE(message);
    EXPECT_TRUE(PlanAttention(good_, limits_).ok()) << PlanAttention(good_, limits_).status();
    R request = good_;
    spoil(request);
    const absl::Status status = PlanAttention(request, limits_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(std::string(status.message()), message);
    EXPECT_EQ(FieldOf(status), message.substr(0, message.find(": ")));
    EXPECT_TRUE(messages_.insert(message).second) << "the same message for another mistake";
  }

  R good_;
  AttentionLimits limits_;

 private:
  std::set<std::string> messages_;
};

TEST_F(BadOptionsTest, Scale) {
  Expect("options.scale: is nan; it must be finite", [](R& r) { r.options.scale = kNan; });
  Expect("options.scale: is inf; it must be finite", [](R& r) { r.options.scale = kInf; });
  Expect("options.scale: is -inf; it must be finite", [](R& r) { r.options.scale = -kInf; });
}

TEST_F(BadOptionsTest, Softcap) {
  Expect("options.softcap: is 0; a finite number > 0 is allowed", [](R& r) { r.options.softcap = 0; });
  Expect("options.softcap: is -0; a finite number > 0 is allowed", [](R& r) { r.options.softcap = -0.0F; });
  Expect("options.softcap: is -30; a finite number > 0 is allowed", [](R& r) { r.options.softcap = -30; });
  Expect("options.softcap: is nan; a finite number > 0 is allowed", [](R& r) { r.options.softcap = kNan; });
  Expect("options.softcap: is inf; a finite number > 0 is allowed", [](R& r) { r.options.softcap = kInf; });
}

TEST_F(BadOptionsTest, AlignmentUnsetWhereItMatters) {
  const std::string problem = " is and q_len = 3 differs from kv_len = 5; say TOP_LEFT, BOTTOM_RIGHT or OFFSET";
  Expect("options.alignment: is not set, but options.causal" + problem, [](R& r) { r.options.causal = true; });
  Expect("options.alignment: is not set, but options.window" + problem, [](R& r) { r.options.window = Window{1, {}}; });
  Expect("options.alignment: is not set, but options.alibi_slopes" + problem,
         [](R& r) { r.options.alibi_slopes = Floats({4}); });
  Expect("options.alignment: is not set, but options.rope" + problem, [](R& r) {
    r.options.rope.emplace().style = RopeStyle::kHalf;
    r.options.rope->query_positions.assign(6, 0);
  });
}

TEST_F(BadOptionsTest, AlignmentDoesNotMatterToGivenPositions) {
  good_.options.rope.emplace().style = RopeStyle::kHalf;
  good_.options.rope->query_positions.assign(6, 0);
  good_.options.rope->key_positions.assign(10, 0);
  EXPECT_TRUE(PlanAttention(good_, limits_).ok());
}

TEST_F(BadOptionsTest, OffsetsWithoutTheAlignmentOffset) {
  Expect("options.q_offset: is given, but options.alignment is not OFFSET", [](R& r) { r.options.q_offset = {0}; });
  Expect("options.k_offset: is given, but options.alignment is not OFFSET", [](R& r) {
    r.options.k_offset = {1};
    r.options.alignment = Alignment::kBottomRight;
  });
}

TEST_F(BadOptionsTest, Offsets) {
  good_.options.causal = true;
  good_.options.alignment = Alignment::kOffset;
  Expect("options.q_offset: has 3 elements; 1 or batch = 2 are allowed", [](R& r) {
    r.options.q_offset = I64s{1, 2, 3};
  });
  Expect("options.k_offset: has 3 elements; 1 or batch = 2 are allowed", [](R& r) {
    r.options.k_offset = I64s{1, 2, 3};
  });
  Expect("options.q_offset: has 1152921504606846977; -2^60 to 2^60 is allowed",
         [](R& r) { r.options.q_offset = {kFar + 1}; });
  Expect("options.q_offset: has -1152921504606846977; -2^60 to 2^60 is allowed",
         [](R& r) { r.options.q_offset = {-kFar - 1}; });
  Expect("options.k_offset: has 9223372036854775807 for batch entry 1; -2^60 to 2^60 is allowed", [](R& r) {
    r.options.k_offset = I64s{0, kMax};
  });
  Expect("options.k_offset: has -9223372036854775808 for batch entry 0; -2^60 to 2^60 is allowed", [](R& r) {
    r.options.k_offset = I64s{kMin, 0};
  });
}

TEST_F(BadOptionsTest, Window) {
  good_.options.alignment = Alignment::kTopLeft;
  Expect("options.window: has neither left nor right; set at least one of them",
         [](R& r) { r.options.window.emplace(); });
  Expect("options.window.left: is -1; at least 0 is allowed", [](R& r) { r.options.window = Window{-1, {}}; });
  Expect("options.window.right: is -7; at least 0 is allowed", [](R& r) { r.options.window = Window{2, -7}; });
  Expect("options.window.left: is -9223372036854775808; at least 0 is allowed", [](R& r) {
    r.options.window = Window{kMin, kMin};
  });
}

TEST_F(BadOptionsTest, Lengths) {
  Expect("options.q_lengths: has 3 elements; 1 or batch = 2 are allowed", [](R& r) {
    r.options.q_lengths = I64s{1, 2, 3};
  });
  Expect("options.kv_lengths: has 4 elements; 1 or batch = 2 are allowed", [](R& r) {
    r.options.kv_lengths = I64s{1, 2, 3, 4};
  });
  Expect("options.kv_starts: has 5 elements; 1 or batch = 2 are allowed", [](R& r) {
    r.options.kv_starts = I64s{0, 0, 0, 0, 0};
  });
  Expect("options.q_lengths: has 4; 0 to q_len = 3 is allowed", [](R& r) { r.options.q_lengths = {4}; });
  Expect("options.q_lengths: has -1 for batch entry 1; 0 to q_len = 3 is allowed", [](R& r) {
    r.options.q_lengths = I64s{3, -1};
  });
  Expect("options.kv_lengths: has 6 for batch entry 1; 0 to kv_len = 5 is allowed", [](R& r) {
    r.options.kv_lengths = I64s{5, 6};
  });
  Expect("options.kv_lengths: has -9223372036854775808; 0 to kv_len = 5 is allowed",
         [](R& r) { r.options.kv_lengths = {kMin}; });
  Expect("options.kv_starts: has 6; 0 to the kv length = 5 is allowed", [](R& r) { r.options.kv_starts = {6}; });
  Expect("options.kv_starts: has -1 for batch entry 0; 0 to the kv length = 5 is allowed", [](R& r) {
    r.options.kv_starts = I64s{-1, 0};
  });
  Expect("options.kv_starts: has 3 for batch entry 1; 0 to the kv length = 2 is allowed", [](R& r) {
    r.options.kv_lengths = I64s{3, 2};
    r.options.kv_starts = {3};
  });
}

TEST_F(BadOptionsTest, MaskShapes) {
  const auto spoil = [](I64s shape) {
    return [shape = std::move(shape)](R& r) { r.options.masks = {MaskOf(DataType::kBool, shape)}; };
  };
  const std::string problem =
      ", which does not broadcast over [2, 4, 3, 5] [batch, heads, q_len, kv_len]; each extent is that or 1";
  Expect("options.masks[0].tensor.shape: is [3, 4, 3, 5]" + problem, spoil({3, 4, 3, 5}));
  Expect("options.masks[0].tensor.shape: is [2, 2, 3, 5]" + problem, spoil({2, 2, 3, 5}));
  Expect("options.masks[0].tensor.shape: is [2, 4, 2, 5]" + problem, spoil({2, 4, 2, 5}));
  Expect("options.masks[0].tensor.shape: is [2, 4, 3, 4]" + problem, spoil({2, 4, 3, 4}));
  Expect("options.masks[0].tensor.shape: is [2, 4, 3, 6]" + problem, spoil({2, 4, 3, 6}));
  Expect("options.masks[0].tensor.shape: is [1, 2, 4, 3, 5]" + problem, spoil({1, 2, 4, 3, 5}));
  Expect("options.masks[0].tensor.shape: is [3]" + problem, spoil({3}));
  Expect("options.masks[0].tensor.shape: is [2, 5]" + problem, spoil({2, 5}));
  Expect("options.masks[0].tensor.shape: is [0, 1, 3, 5]" + problem, spoil({0, 1, 3, 5}));
}

TEST_F(BadOptionsTest, Masks) {
  Expect("options.masks[0].polarity: is not set; say KEEP (1 = the key takes part) or DROP (1 = the key is ignored)",
         [](R& r) {
           r.options.masks = {MaskOf(DataType::kBool, {3, 5}, Polarity::kUnset)};
         });
  Expect("options.masks[1].polarity: is not set; say KEEP (1 = the key takes part) or DROP (1 = the key is ignored)",
         [](R& r) {
           r.options.masks = {MaskOf(DataType::kBool, {3, 5}), MaskOf(DataType::kBit, {3, 5}, Polarity::kUnset)};
         });
  Expect("options.masks[0].tensor.dtype: is FLOAT32; BOOL or BIT is allowed (numbers are a bias)", [](R& r) {
    r.options.masks = {MaskOf(DataType::kFloat32, {3, 5})};
  });
  Expect("options.masks[0].tensor.data: has 15 bytes; shape [3, 5] of BIT needs 3", [](R& r) {
    r.options.masks = {MaskOf(DataType::kBool, {3, 5})};
    r.options.masks[0].tensor.dtype = DataType::kBit;
  });
  Expect("options.masks[0].tensor.shape: is [3, -5]; extents are >= 0", [](R& r) {
    r.options.masks = {MaskOf(DataType::kBool, {3, 5})};
    r.options.masks[0].tensor.shape[1] = -5;
  });
  Expect("options.masks: has 65 elements; at most 64 are allowed",
         [](R& r) { r.options.masks.assign(65, MaskOf(DataType::kBool, {5})); });
}

TEST_F(BadOptionsTest, Biases) {
  Expect("options.biases: has 65 elements; at most 64 are allowed",
         [](R& r) { r.options.biases.assign(65, Floats({5})); });
  Expect("options.biases[0].dtype: is BOOL; FLOAT32, FLOAT16 or BFLOAT16 is allowed", [](R& r) {
    r.options.biases = {TensorOf(DataType::kBool, {3, 5})};
  });
  Expect("options.biases[1].dtype: is BIT; FLOAT32, FLOAT16 or BFLOAT16 is allowed", [](R& r) {
    r.options.biases = {Floats({3, 5}), TensorOf(DataType::kBit, {3, 5})};
  });
  Expect(
      "options.biases[0].shape: is [4, 3, 4], which does not broadcast over [2, 4, 3, 5] [batch, heads, q_len, "
      "kv_len]; each extent is that or 1",
      [](R& r) {
        r.options.biases = {Floats({4, 3, 4})};
      });
  Expect("options.biases[0].data: has 60 bytes; shape [3, 5] of FLOAT16 needs 30", [](R& r) {
    r.options.biases = {Floats({3, 5})};
    r.options.biases[0].dtype = DataType::kFloat16;
  });
}

TEST_F(BadOptionsTest, NumbersPerHead) {
  good_.options.alignment = Alignment::kTopLeft;
  Expect("options.alibi_slopes.shape: is [2]; one element per query head, [4], is allowed",
         [](R& r) { r.options.alibi_slopes = Floats({2}); });
  Expect("options.alibi_slopes.shape: is [4, 1]; one element per query head, [4], is allowed", [](R& r) {
    r.options.alibi_slopes = Floats({4, 1});
  });
  Expect("options.alibi_slopes.dtype: is BIT; FLOAT32, FLOAT16 or BFLOAT16 is allowed",
         [](R& r) { r.options.alibi_slopes = TensorOf(DataType::kBit, {4}); });
  Expect("options.sinks.shape: is [5]; one element per query head, [4], is allowed",
         [](R& r) { r.options.sinks = Floats({5}); });
  Expect("options.sinks.shape: is []; one element per query head, [4], is allowed",
         [](R& r) { r.options.sinks = Floats({}); });
  Expect("options.sinks.dtype: is BOOL; FLOAT32, FLOAT16 or BFLOAT16 is allowed",
         [](R& r) { r.options.sinks = TensorOf(DataType::kBool, {4}); });
  Expect("options.sinks.data: has 16 bytes; shape [4] of BFLOAT16 needs 8", [](R& r) {
    r.options.sinks = Floats({4});
    r.options.sinks->dtype = DataType::kBfloat16;
  });
}

TEST_F(BadOptionsTest, PrefixLengths) {
  Expect(
      "options.prefix_lengths: is given, but options.causal is not set: without it every key is visible to all "
      "queries",
      [](R& r) { r.options.prefix_lengths = {2}; });
  good_.options.causal = true;
  good_.options.alignment = Alignment::kTopLeft;
  Expect("options.prefix_lengths: has 6; 0 to kv_len = 5 is allowed", [](R& r) { r.options.prefix_lengths = {6}; });
  Expect("options.prefix_lengths: has -1 for batch entry 1; 0 to kv_len = 5 is allowed", [](R& r) {
    r.options.prefix_lengths = I64s{0, -1};
  });
  Expect("options.prefix_lengths: has 3 elements; 1 or batch = 2 are allowed", [](R& r) {
    r.options.prefix_lengths = I64s{1, 2, 3};
  });
}

TEST_F(BadOptionsTest, Documents) {
  const auto ids = [](size_t queries, size_t keys) {
    return [=](R& r) { r.options.documents = Documents{I32s(queries, 1), I32s(keys, 1)}; };
  };
  Expect("options.documents.query_ids: has 3 elements; one for each of the 6 queries (2 batch entries) is needed",
         ids(3, 10));
  Expect("options.documents.query_ids: has 0 elements; one for each of the 6 queries (2 batch entries) is needed",
         ids(0, 10));
  Expect("options.documents.key_ids: has 11 elements; one for each of the 10 keys (2 batch entries) is needed",
         ids(6, 11));
  Expect("options.documents.key_ids: is not given and query_ids cannot stand in: q_len = 3 differs from kv_len = 5",
         ids(6, 0));
}

TEST_F(BadOptionsTest, Rope) {
  good_.options.alignment = Alignment::kTopLeft;
  good_.options.rope.emplace().style = RopeStyle::kHalf;
  Expect("options.rope.style: is not set; say HALF or INTERLEAVED, they are not interchangeable",
         [](R& r) { r.options.rope->style = RopeStyle::kUnset; });
  for (const int64_t dim : {kMin, int64_t{-2}, int64_t{0}, int64_t{3}, int64_t{10}, kMax}) {
    Expect("options.rope.rotary_dim: is " + std::to_string(dim) + "; even numbers from 2 to head_dim = 8 are allowed",
           [dim](R& r) { r.options.rope->rotary_dim = dim; });
  }
  Expect("options.rope.theta: is 0; a finite number > 0 is allowed", [](R& r) { r.options.rope->theta = 0; });
  Expect("options.rope.theta: is nan; a finite number > 0 is allowed", [](R& r) { r.options.rope->theta = kNan; });
  Expect("options.rope.scaling_factor: is -1; a finite number > 0 is allowed",
         [](R& r) { r.options.rope->scaling_factor = -1; });
  Expect("options.rope.scaling_factor: is inf; a finite number > 0 is allowed",
         [](R& r) { r.options.rope->scaling_factor = kInf; });
  Expect("options.rope.query_positions: has 3 elements; one for each of the 6 queries (2 batch entries) is needed",
         [](R& r) { r.options.rope->query_positions = I64s(3, 0); });
  Expect("options.rope.key_positions: has 5 elements; one for each of the 10 keys (2 batch entries) is needed",
         [](R& r) { r.options.rope->key_positions = I64s(5, 0); });
  Expect("options.rope.query_positions: has 1152921504606846977; -2^60 to 2^60 is allowed",
         [](R& r) { r.options.rope->query_positions = I64s(6, kFar + 1); });
  Expect("options.rope.key_positions: has -9223372036854775808; -2^60 to 2^60 is allowed",
         [](R& r) { r.options.rope->key_positions = I64s(10, kMin); });
}

TEST_F(BadOptionsTest, RopeOfAnOddHead) {
  good_.query = Floats({2, 4, 3, 7});
  good_.key = Floats({2, 2, 5, 7});
  good_.options.alignment = Alignment::kTopLeft;
  Expect(
      "options.rope.rotary_dim: is not set and would be head_dim = 7; even numbers from 2 to head_dim = 7 are allowed",
      [](R& r) { r.options.rope.emplace().style = RopeStyle::kInterleaved; });
}

TEST_F(BadOptionsTest, Packed) {
  // Sequences of 2 and 1 queries, 4 and 1 keys.
  good_.layout = Layout::kPacked;
  good_.query = Floats({3, 4, 8});
  good_.key = Floats({5, 2, 8});
  good_.value = Floats({5, 2, 6});
  good_.options.q_lengths = {2, 1};
  good_.options.kv_lengths = {4, 1};
  Expect("query.shape: is [1, 3, 4, 8], 4-D; PACKED takes 3-D [total_len, heads, dim]", [](R& r) {
    r.query = Floats({1, 3, 4, 8});
  });
  Expect("options.q_lengths: has 262145 elements; at most 262144 sequences are allowed", [](R& r) {
    r.options.q_lengths.assign(262145, 0);
    r.options.kv_lengths.assign(262145, 0);
  });
  Expect("options.q_lengths: is required in the layout PACKED", [](R& r) {
    r.options.q_lengths = {};
    r.options.kv_lengths = {};
  });
  Expect("options.kv_lengths: has 2 elements, q_lengths 0; in the layout PACKED both have one per sequence",
         [](R& r) { r.options.q_lengths = {}; });
  Expect("options.kv_lengths: has 1 elements, q_lengths 2; in the layout PACKED both have one per sequence",
         [](R& r) { r.options.kv_lengths = {5}; });
  Expect("options.q_lengths: adds up to 4, but query has 3 tokens", [](R& r) { r.options.q_lengths = I64s{2, 2}; });
  Expect("options.kv_lengths: adds up to 3, but key has 5 tokens", [](R& r) { r.options.kv_lengths = I64s{2, 1}; });
  Expect("options.q_lengths: has -1; at least 0 is allowed", [](R& r) { r.options.q_lengths = I64s{4, -1}; });
  Expect("options.kv_lengths: adds up to 9223372036854775807, but key has 5 tokens", [](R& r) {
    r.options.kv_lengths = I64s{kMax, kMax};
  });
  Expect("options.kv_starts: has 2 for batch entry 1; 0 to the kv length = 1 is allowed",
         [](R& r) { r.options.kv_starts = {2}; });
  Expect(
      "options.alignment: is not set, but options.causal is and q_len = 2 differs from kv_len = 4 or does so within a "
      "sequence; say TOP_LEFT, BOTTOM_RIGHT or OFFSET",
      [](R& r) { r.options.causal = true; });
  Expect("options.documents.query_ids: has 6 elements; one for each of the 3 queries (2 batch entries) is needed",
         [](R& r) {
           r.options.documents = Documents{I32s(6, 1), I32s(5, 1)};
         });
  Expect("options.rope.key_positions: has 8 elements; one for each of the 5 keys (2 batch entries) is needed",
         [](R& r) {
           r.options.alignment = Alignment::kTopLeft;
           r.options.rope.emplace().style = RopeStyle::kHalf;
           r.options.rope->key_positions = I64s(8, 0);
         });
  Expect(
      "options.masks[0].tensor.shape: is [3, 5], which does not broadcast over [2, 4, 2, 4] [batch, heads, q_len, "
      "kv_len]; each extent is that or 1 (q_len and kv_len of the longest sequence)",
      [](R& r) {
        r.options.masks = {MaskOf(DataType::kBool, {3, 5})};
      });
  Expect("outputs.weights.rows: has 3; queries 0 to 2, counted through the packed query, are there",
         [](R& r) { r.outputs.weights.emplace().rows = {3}; });
}

TEST_F(BadOptionsTest, RowsOfWeights) {
  Expect("outputs.weights.rows: has 3; queries 0 to 2 are there", [](R& r) {
    r.outputs.weights.emplace().rows = {0, 3};
  });
  Expect("outputs.weights.rows: has -1; queries 0 to 2 are there",
         [](R& r) { r.outputs.weights.emplace().rows = {-1}; });
  Expect("outputs.weights.rows: has 1 twice", [](R& r) { r.outputs.weights.emplace().rows = {1, 2, 1}; });
  good_.query = Floats({2, 4, 0, 8});
  Expect("outputs.weights.rows: has 0, but there are no queries", [](R& r) { r.outputs.weights.emplace().rows = {0}; });
}

TEST_F(BadOptionsTest, Outputs) {
  Expect("outputs.scores.stage: is not set; say UNSCALED, SCALED, CAPPED or BIASED",
         [](R& r) { r.outputs.scores = ScoreStage::kUnset; });
  Expect("outputs.top_k.k: is 0; 1 to kv_len = 5 is allowed", [](R& r) { r.outputs.top_k.emplace(); });
  Expect("outputs.top_k.k: is 6; 1 to kv_len = 5 is allowed", [](R& r) { r.outputs.top_k.emplace().k = 6; });
  Expect("outputs.top_k.rows: has 3; queries 0 to 2 are there", [](R& r) { r.outputs.top_k = TopKOutput{1, {0, 3}}; });
  Expect("outputs.top_k.rows: has 1 twice", [](R& r) { r.outputs.top_k = TopKOutput{1, {1, 1}}; });
  Expect("outputs.diagnostics.first_keys: is 0; 1 to 1024 is allowed",
         [](R& r) { r.outputs.diagnostics.emplace().first_keys = 0; });
  Expect("outputs.diagnostics.window: is -1; 0 to 1024 is allowed",
         [](R& r) { r.outputs.diagnostics.emplace().window = -1; });
  Expect("outputs.diagnostics.columns: is 1025; 0 to 1024 is allowed",
         [](R& r) { r.outputs.diagnostics.emplace().columns = 1025; });
  Expect("outputs.heatmap.cells: is 0; 1 to 512 is allowed", [](R& r) { r.outputs.heatmap.emplace().cells = 0; });
  Expect("outputs.heatmap.cells: is 513; 1 to 512 is allowed", [](R& r) { r.outputs.heatmap.emplace().cells = 513; });
  Expect("outputs.dtype: is BOOL; FLOAT32, FLOAT16 or BFLOAT16 is allowed",
         [](R& r) { r.outputs.dtype = DataType::kBool; });
  Expect("outputs.dtype: is BIT; FLOAT32, FLOAT16 or BFLOAT16 is allowed",
         [](R& r) { r.outputs.dtype = DataType::kBit; });
}

TEST_F(BadOptionsTest, OutputsOverTheLimit) {
  constexpr int64_t kOutput = int64_t{2} * 4 * 3 * 6 * 4;
  limits_.max_output_bytes = kOutput;
  Expect("query.shape: the output would pass the limit of 576 bytes for all results", [](R& r) {
    r.value = Floats({2, 2, 5, 7});
  });
  Expect("outputs.lse: output and lse would pass the limit of 576 bytes for all results",
         [](R& r) { r.outputs.lse = true; });
  Expect("outputs.weights: weights of shape [2, 4, 3, 5] would pass the limit of 576 bytes for all results",
         [](R& r) { r.outputs.weights.emplace(); });
  Expect("outputs.weights: weights of shape [2, 1, 3, 5] would pass the limit of 576 bytes for all results",
         [](R& r) { r.outputs.weights.emplace().mean = true; });
  Expect("outputs.scores: scores of shape [2, 4, 3, 5] would pass the limit of 576 bytes for all results",
         [](R& r) { r.outputs.scores = ScoreStage::kScaled; });
}

TEST_F(BadOptionsTest, DataTypesThatMustAgree) {
  Expect("value.dtype: is BFLOAT16, but key is FLOAT32; they must agree", [](R& r) {
    r.value = TensorOf(DataType::kBfloat16, {2, 2, 5, 6});
  });
  Expect("query.dtype: is BIT; FLOAT32, FLOAT16 or BFLOAT16 is allowed", [](R& r) {
    r.query = TensorOf(DataType::kBit, {2, 4, 3, 8});
  });
}

}  // namespace
}  // namespace attnd
