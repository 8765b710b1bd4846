// Every wrong set of weights has a message of its own, which names the field, what came and what
// is allowed.
#include <gtest/gtest.h>

#include "tests/unit/bad_multihead.h"

namespace attnd {
namespace {

// --- weights ----------------------------------------------------------------------------

TEST_F(BadMultiHeadTest, MissingWeights) {
  const std::string problem = ": is not there; w_query, w_key and w_value, or w_qkv, are required";
  Expect("inline.orientation: is not set; IN_OUT or OUT_IN is required",
         [](Asked& a) { a.weights.orientation = Orientation::kUnset; });
  Expect("inline.w_query" + problem, [](Asked& a) { a.Drop(Role::kQuery); });
  Expect("inline.w_key" + problem, [](Asked& a) { a.Drop(Role::kKey); });
  Expect("inline.w_value" + problem, [](Asked& a) { a.Drop(Role::kValue); });
  Expect("inline.w_key: came with w_qkv, which is instead of it; one is allowed", [](Asked& a) {
    a.Put(Role::kQkv, {6, 60}).Drop(Role::kQuery);
  });
  Expect("inline.b_value: came with w_qkv, which is instead of it; b_qkv is allowed", [](Asked& a) {
    a.Put(Role::kQkv, {6, 60}).Drop(Role::kQuery).Drop(Role::kKey).Drop(Role::kValue).Put(Role::kValueBias, {12});
  });
}

TEST_F(BadMultiHeadTest, WeightsAndTheirCompanions) {
  Expect("inline.w_output: is not there; it is required with b_output",
         [](Asked& a) { a.Drop(Role::kOutput).Put(Role::kOutputBias, {10}); });
  Expect("inline.w_qkv: is not there; it is required with b_qkv", [](Asked& a) { a.Put(Role::kQkvBias, {60}); });
  Expect("inline.bias_v: is not there; it is required with bias_k", [](Asked& a) { a.Put(Role::kExtraKey, {16}); });
  Expect("inline.bias_k: is not there; it is required with bias_v", [](Asked& a) { a.Put(Role::kExtraValue, {12}); });
}

TEST_F(BadBlockTest, WeightsAndTheirCompanions) {
  Expect("inline.block.attention_norm_scale: is not there; it is required with block.attention_norm_shift",
         [](Asked& a) { a.Drop(Role::kAttentionNormScale); });
  const auto alone = [](Role role, I64s shape) {
    return [=](Asked& a) {
      for (const WeightRoleInfo& info : WeightRoles()) {
        if (std::string(info.name).starts_with("block.")) a.Drop(info.role);
      }
      a.Put(role, shape);
    };
  };
  const std::string problem = "inline.block.attention_norm_scale: is not there; it is required with block.";
  Expect(problem + "ffn_norm_scale", alone(Role::kFfnNormScale, {8}));
  Expect(problem + "ffn_norm_shift", alone(Role::kFfnNormShift, {8}));
  Expect(problem + "w_up", alone(Role::kUp, {8, 16}));
  Expect(problem + "b_up", alone(Role::kUpBias, {16}));
  Expect(problem + "w_gate", alone(Role::kGate, {8, 16}));
  Expect(problem + "b_gate", alone(Role::kGateBias, {16}));
  Expect(problem + "w_down", alone(Role::kDown, {16, 8}));
  Expect(problem + "b_down", alone(Role::kDownBias, {8}));
  Expect("inline.block.w_up: is not there; it is required with block.ffn_norm_scale",
         [](Asked& a) { a.Drop(Role::kUp); });
  Expect("inline.block.ffn_norm_scale: is not there; it is required with block.ffn_norm_shift",
         [](Asked& a) { a.Drop(Role::kFfnNormScale); });
  Expect("inline.block.ffn_norm_scale: is not there; it is required with block.w_up",
         [](Asked& a) { a.Drop(Role::kFfnNormScale).Drop(Role::kFfnNormShift); });
  Expect("inline.block.w_gate: is not there; it is required with block.b_gate", [](Asked& a) { a.Drop(Role::kGate); });
  Expect("inline.block.w_down: is not there; it is required with block.b_down", [](Asked& a) { a.Drop(Role::kDown); });
  Expect("inline.block.w_down: is not there; it is required with block.w_up",
         [](Asked& a) { a.Drop(Role::kDown).Drop(Role::kDownBias); });
}

TEST_F(BadMultiHeadTest, WeightsThemselves) {
  good_.Put(Role::kQueryBias, {32});
  Expect("inline.w_query.dtype: is BIT; FLOAT32, FLOAT16 or BFLOAT16 is allowed", [](Asked& a) {
    a.Put(Role::kQuery, {6, 32}, DataType::kBit);
  });
  Expect("inline.w_key.shape: is [112]; 2 extents >= 1 are allowed", [](Asked& a) { a.Put(Role::kKey, {112}); });
  Expect("inline.w_key.shape: is [7, 0]; 2 extents >= 1 are allowed", [](Asked& a) { a.Put(Role::kKey, {7, 0}); });
  Expect("inline.w_value.shape: is [9, -12]; 2 extents >= 1 are allowed",
         [](Asked& a) { a.weights.tensors[Role::kValue]->shape[1] = -12; });
  Expect("inline.b_query.shape: is [1, 32]; 1 extent >= 1 is allowed", [](Asked& a) {
    a.Put(Role::kQueryBias, {1, 32});
  });
  Expect("inline.position_table.shape: is [6]; 2 extents >= 1 are allowed",
         [](Asked& a) { a.Put(Role::kPositionTable, {6}); });
  Expect("inline.w_output.data: has 960 bytes; shape [24, 10] of BFLOAT16 needs 480",
         [](Asked& a) { a.weights.tensors[Role::kOutput]->dtype = DataType::kBfloat16; });
  Expect("inline.w_output.data: has 0 bytes; shape [24, 10] of FLOAT32 needs 960",
         [](Asked& a) { a.weights.tensors[Role::kOutput]->bytes = Fragments(); });
  const std::string problem = "which with the tensors before it makes over 1099511627776 elements; so many are allowed";
  Expect("inline.w_query.shape: is [4611686018427387904, 4611686018427387904], " + problem, [](Asked& a) {
    a.weights.tensors[Role::kQuery]->shape = {kHuge, kHuge};
  });
  Expect("inline.w_key.shape: is [7, 1099511627776], " + problem, [](Asked& a) {
    a.weights.tensors[Role::kKey]->shape = {7, int64_t{1} << 40};
  });
}

TEST_F(BadMultiHeadTest, WeightsThatDoNotGoTogether) {
  Expect("inline.b_query.shape: is [31]: extent 0 is 31; it must be 32 as extent 1 of w_query, [6, 32]",
         [](Asked& a) { a.Put(Role::kQueryBias, {31}); });
  Expect("inline.b_key.shape: is [32]: extent 0 is 32; it must be 16 as extent 1 of w_key, [7, 16]",
         [](Asked& a) { a.Put(Role::kKeyBias, {32}); });
  Expect("inline.b_value.shape: is [9]: extent 0 is 9; it must be 12 as extent 1 of w_value, [9, 12]",
         [](Asked& a) { a.Put(Role::kValueBias, {9}); });
  Expect("inline.b_output.shape: is [24]: extent 0 is 24; it must be 10 as extent 1 of w_output, [24, 10]",
         [](Asked& a) { a.Put(Role::kOutputBias, {24}); });
  Expect("inline.bias_k.shape: is [32]: extent 0 is 32; it must be 16 as extent 1 of w_key, [7, 16]",
         [](Asked& a) { a.Put(Role::kExtraKey, {32}).Put(Role::kExtraValue, {12}); });
  Expect("inline.bias_v.shape: is [24]: extent 0 is 24; it must be 12 as extent 1 of w_value, [9, 12]",
         [](Asked& a) { a.Put(Role::kExtraKey, {16}).Put(Role::kExtraValue, {24}); });
  Expect("inline.block.attention_norm_scale.shape: is [7]: extent 0 is 7; it must be 6 as extent 0 of w_query, [6, 32]",
         [](Asked& a) { a.Put(Role::kAttentionNormScale, {7}); });
  Expect(
      "inline.w_output.shape: is [24, 10]: extent 1 is 10; it must be 6 as extent 0 of block.attention_norm_scale, "
      "[6]",
      [](Asked& a) { a.Put(Role::kAttentionNormScale, {6}); });
}

TEST_F(BadQkvTest, WeightsThatDoNotGoTogether) {
  Expect("inline.b_qkv.shape: is [6]: extent 0 is 6; it must be 60 as extent 0 of w_qkv, [60, 6]",
         [](Asked& a) { a.Put(Role::kQkvBias, {6}); });
}

TEST_F(BadBlockTest, WeightsThatDoNotGoTogether) {
  const std::string model_dim = " of block.attention_norm_scale, [8]";
  Expect("inline.block.attention_norm_scale.shape: is [9]: extent 0 is 9; it must be 8 as extent 0 of w_qkv, [8, 24]",
         [](Asked& a) { a.Put(Role::kAttentionNormScale, {9}); });
  Expect("inline.block.attention_norm_shift.shape: is [9]: extent 0 is 9; it must be 8 as extent 0" + model_dim,
         [](Asked& a) { a.Put(Role::kAttentionNormShift, {9}); });
  Expect("inline.block.ffn_norm_scale.shape: is [16]: extent 0 is 16; it must be 8 as extent 0" + model_dim,
         [](Asked& a) { a.Put(Role::kFfnNormScale, {16}); });
  Expect("inline.block.ffn_norm_shift.shape: is [1]: extent 0 is 1; it must be 8 as extent 0" + model_dim,
         [](Asked& a) { a.Put(Role::kFfnNormShift, {1}); });
  Expect("inline.block.w_up.shape: is [16, 8]: extent 0 is 16; it must be 8 as extent 0" + model_dim, [](Asked& a) {
    a.Put(Role::kUp, {16, 8});
  });
  Expect("inline.block.b_up.shape: is [8]: extent 0 is 8; it must be 16 as extent 1 of block.w_up, [8, 16]",
         [](Asked& a) { a.Put(Role::kUpBias, {8}); });
  Expect("inline.block.w_gate.shape: is [7, 16]: extent 0 is 7; it must be 8 as extent 0 of block.w_up, [8, 16]",
         [](Asked& a) {
           a.Put(Role::kGate, {7, 16});
         });
  Expect("inline.block.w_gate.shape: is [8, 17]: extent 1 is 17; it must be 16 as extent 1 of block.w_up, [8, 16]",
         [](Asked& a) {
           a.Put(Role::kGate, {8, 17});
         });
  Expect("inline.block.b_gate.shape: is [8]: extent 0 is 8; it must be 16 as extent 1 of block.w_gate, [8, 16]",
         [](Asked& a) { a.Put(Role::kGateBias, {8}); });
  Expect("inline.block.w_down.shape: is [15, 8]: extent 0 is 15; it must be 16 as extent 1 of block.w_up, [8, 16]",
         [](Asked& a) {
           a.Put(Role::kDown, {15, 8});
         });
  Expect("inline.block.w_down.shape: is [16, 9]: extent 1 is 9; it must be 8 as extent 0" + model_dim, [](Asked& a) {
    a.Put(Role::kDown, {16, 9});
  });
  Expect("inline.block.b_down.shape: is [16]: extent 0 is 16; it must be 8 as extent 1 of block.w_down, [16, 8]",
         [](Asked& a) { a.Put(Role::kDownBias, {16}); });
}

// In the other orientation the same mistake is told by the extents as they came.
TEST_F(BadBlockTest, WeightsTheOtherWayRound) {
  good_.weights.orientation = Orientation::kOutIn;
  good_.Put(Role::kQkv, {24, 8}).Put(Role::kUp, {16, 8}).Put(Role::kGate, {16, 8}).Put(Role::kDown, {8, 16});
  Expect("inline.block.w_gate.shape: is [8, 16]: extent 1 is 16; it must be 8 as extent 1 of block.w_up, [16, 8]",
         [](Asked& a) {
           a.Put(Role::kGate, {8, 16});
         });
  Expect("query.shape: is [2, 3, 7]: the width is 7, but the weights take 8", [](Asked& a) {
    a.request.query = Zeros({2, 3, 7});
  });
}

}  // namespace
}  // namespace attnd
