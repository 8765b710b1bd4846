#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "core/linear/projection_weights.h"
#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

using Role = WeightRole;
using ::testing::ElementsAre;
using ::testing::TestParamInfo;
using ::testing::TestWithParam;
using ::testing::ValuesIn;

// A whole layer with everything that separate projections may have: model_dim 6, 4 heads
// of 2 on 2 key heads, value_dim 3, ffn_dim 10; [in, out].
void FillLayer(WeightsCase& layer) {
  layer.weights().orientation = Orientation::kInOut;
  layer.Fill(Role::kQuery, {6, 8}).Fill(Role::kKey, {5, 4}).Fill(Role::kValue, {7, 6}).Fill(Role::kOutput, {12, 6});
  layer.Fill(Role::kQueryBias, {8}).Fill(Role::kKeyBias, {4}).Fill(Role::kValueBias, {6}).Fill(Role::kOutputBias, {6});
  layer.Fill(Role::kExtraKey, {4}).Fill(Role::kExtraValue, {6}).Fill(Role::kQueryNorm, {2}).Fill(Role::kKeyNorm, {2});
  layer.Fill(Role::kPositionTable, {20, 6});
  layer.Fill(Role::kAttentionNormScale, {6}).Fill(Role::kAttentionNormShift, {6});
  layer.Fill(Role::kFfnNormScale, {6}).Fill(Role::kFfnNormShift, {6});
  layer.Fill(Role::kUp, {6, 10}).Fill(Role::kUpBias, {10}).Fill(Role::kGate, {6, 10}).Fill(Role::kGateBias, {10});
  layer.Fill(Role::kDown, {10, 6}).Fill(Role::kDownBias, {6});
}

// All in one matrix: model_dim 4.
void FillFused(WeightsCase& fused) {
  fused.Fill(Role::kQkv, {12, 4}).Fill(Role::kQkvBias, {12}).Fill(Role::kOutput, {4, 4});
}

TEST(CheckWeightsTest, TellsExtentsAsInAndOut) {
  WeightsCase layer;
  FillLayer(layer);
  const auto shapes = CheckWeights(layer.weights(), "inline");
  ASSERT_THAT(shapes, IsOk());
  EXPECT_THAT(shapes->extents[Role::kValue], ElementsAre(7, 6));
  EXPECT_THAT(shapes->extents[Role::kPositionTable], ElementsAre(20, 6));
  EXPECT_FALSE(shapes->has(Role::kQkv));

  WeightsCase fused;
  FillFused(fused);
  const auto swapped = CheckWeights(fused.weights(), "");
  ASSERT_THAT(swapped, IsOk());
  EXPECT_EQ(swapped->in(Role::kQkv), 4);
  EXPECT_EQ(swapped->out(Role::kQkv), 12);
  EXPECT_EQ(ElementsOf(*swapped), 48 + 12 + 16);
}

TEST(CheckWeightsTest, LooksAtBytesOnlyIfTheyCame) {
  WeightsCase fused;
  FillFused(fused);
  fused.weights().tensors[Role::kQkv]->bytes = {};
  EXPECT_THAT(CheckWeights(fused.weights(), "", /*without_bytes=*/true), IsOk());
  EXPECT_THAT(CheckWeights(fused.weights(), "inline"),
              NamesField(absl::StatusCode::kInvalidArgument, "inline.w_qkv.data"));
}

struct BadCase {
  const char* name;
  void (*fill)(WeightsCase&);
  std::function<void(WeightsCase&)> spoil;
  const char* field;
  const char* message;
};

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

const std::vector<BadCase>& BadCases() {
  static const auto& cases = *new std::vector<BadCase>{
      {"NoOrientation", FillFused, [](auto& w) { w.weights().orientation = Orientation::kUnset; }, "w.orientation",
       "IN_OUT or OUT_IN"},
      {"Mask", FillFused, [](auto& w) { w.weights().tensors[Role::kQkv]->dtype = DataType::kBool; }, "w.w_qkv.dtype",
       "is BOOL; FLOAT32, FLOAT16 or BFLOAT16 is allowed"},
      {"Rank", FillFused,
       [](auto& w) {
         w.Fill(Role::kQkv, {3, 4, 4});
       },
       "w.w_qkv.shape", "2 extents >= 1 are"},
      {"VectorRank", FillFused,
       [](auto& w) {
         w.Fill(Role::kQkvBias, {12, 1});
       },
       "w.b_qkv.shape", "1 extent >= 1 is"},
      {"Scalar", FillFused, [](auto& w) { w.Fill(Role::kQkvBias, {}); }, "w.b_qkv.shape", "is []"},
      {"NoRows", FillFused,
       [](auto& w) {
         w.Fill(Role::kQkv, {0, 4});
       },
       "w.w_qkv.shape", "is [0, 4]"},
      {"Negative", FillFused,
       [](auto& w) {
         w.weights().tensors[Role::kQkv]->shape = {-1, 4};
       },
       "w.w_qkv.shape", "is [-1, 4]"},
      {"Overflow", FillFused,
       [](auto& w) {
         w.weights().tensors[Role::kQkv]->shape = {kHuge, kHuge};
       },
       "w.w_qkv.shape", "so many are allowed"},
      {"Bytes", FillFused,
       [](auto& w) {
         w.weights().tensors[Role::kOutput]->shape = {4, 5};
       },
       "w.w_output.data", "has 64 bytes; shape [4, 5] of FLOAT32 needs 80"},
      {"Nothing", [](auto&) {}, [](auto&) {}, "w.w_query", "w_query, w_key and w_value, or w_qkv, are required"},
      {"NoValue", FillLayer, [](auto& w) { w.Remove(Role::kValue); }, "w.w_value", "is not there"},
      {"BothForms", FillFused,
       [](auto& w) {
         w.Fill(Role::kKey, {4, 4});
       },
       "w.w_key", "one is allowed"},
      {"BiasOfOtherForm", FillFused, [](auto& w) { w.Fill(Role::kKeyBias, {4}); }, "w.b_key", "b_qkv is allowed"},
      {"FusedBiasAlone", FillLayer, [](auto& w) { w.Fill(Role::kQkvBias, {4}); }, "w.w_qkv", "required with b_qkv"},
      {"QueryBias", FillLayer, [](auto& w) { w.Fill(Role::kQueryBias, {7}); }, "w.b_query.shape",
       "is [7]: extent 0 is 7; it must be 8 as extent 1 of w_query, [6, 8]"},
      {"FusedBias", FillFused, [](auto& w) { w.Fill(Role::kQkvBias, {4}); }, "w.b_qkv.shape",
       "must be 12 as extent 0 of w_qkv, [12, 4]"},
      {"OutputBiasAlone", FillLayer, [](auto& w) { w.Remove(Role::kOutput); }, "w.w_output", "required with b_output"},
      {"ExtraKeyAlone", FillLayer, [](auto& w) { w.Remove(Role::kExtraValue); }, "w.bias_v", "required with bias_k"},
      {"ExtraValueAlone", FillLayer, [](auto& w) { w.Remove(Role::kExtraKey); }, "w.bias_k", "required with bias_v"},
      {"ExtraKey", FillLayer, [](auto& w) { w.Fill(Role::kExtraKey, {8}); }, "w.bias_k.shape", "must be 4"},
      {"NoNorm", FillLayer, [](auto& w) { w.Remove(Role::kAttentionNormScale); }, "w.block.attention_norm_scale",
       "required with block.attention_norm_shift"},
      {"NoFfnNorm", FillLayer, [](auto& w) { w.Remove(Role::kFfnNormScale).Remove(Role::kFfnNormShift); },
       "w.block.ffn_norm_scale", "required with block.w_up"},
      {"NoDown", FillLayer, [](auto& w) { w.Remove(Role::kDown).Remove(Role::kDownBias); }, "w.block.w_down",
       "required with block.w_up"},
      {"NoUp", FillLayer, [](auto& w) { w.Remove(Role::kUp).Remove(Role::kUpBias); }, "w.block.w_up",
       "required with block.ffn_norm_scale"},
      {"GateBiasAlone", FillLayer, [](auto& w) { w.Remove(Role::kGate); }, "w.block.w_gate", "with block.b_gate"},
      {"Gate", FillLayer,
       [](auto& w) {
         w.Fill(Role::kGate, {6, 9});
       },
       "w.block.w_gate.shape", "must be 10"},
      {"Up", FillLayer,
       [](auto& w) {
         w.Fill(Role::kUp, {5, 10});
       },
       "w.block.w_up.shape", "must be 6"},
      {"Down", FillLayer,
       [](auto& w) {
         w.Fill(Role::kDown, {10, 5});
       },
       "w.block.w_down.shape", "must be 6"},
      {"FfnNorm", FillLayer, [](auto& w) { w.Fill(Role::kFfnNormShift, {5}); }, "w.block.ffn_norm_shift.shape",
       "must be 6"},
      {"Output", FillLayer,
       [](auto& w) {
         w.Fill(Role::kOutput, {12, 7}).Fill(Role::kOutputBias, {7});
       },
       "w.w_output.shape", "must be 6 as extent 0 of block.attention_norm_scale"},
      {"QueryWidth", FillLayer,
       [](auto& w) {
         w.Fill(Role::kQuery, {5, 8});
       },
       "w.block.attention_norm_scale.shape", "must be 5 as extent 0 of w_query"},
      {"FusedWidth", FillFused, [](auto& w) { w.Fill(Role::kAttentionNormScale, {5}); },
       "w.block.attention_norm_scale.shape", "must be 4 as extent 1 of w_qkv"},
  };
  return cases;
}

class BadWeightsTest : public TestWithParam<BadCase> {};

TEST_P(BadWeightsTest, AreRefusedByName) {
  WeightsCase weights;
  GetParam().fill(weights);
  GetParam().spoil(weights);
  const auto shapes = CheckWeights(weights.weights(), "w");
  EXPECT_THAT(shapes, NamesField(absl::StatusCode::kInvalidArgument, GetParam().field));
  EXPECT_THAT(shapes, IsError(absl::StatusCode::kInvalidArgument, GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(All, BadWeightsTest, ValuesIn(BadCases()),
                         [](const TestParamInfo<BadCase>& tested) { return tested.param.name; });

TEST(CheckWeightsTest, SumsOfSizesCannotOverflow) {
  WeightsCase layer;
  FillLayer(layer);
  for (const WeightRoleInfo& info : WeightRoles()) {
    auto& tensor = layer.weights().tensors[info.role];
    if (tensor.has_value()) tensor->shape.assign(tensor->shape.size(), int64_t{1} << 19);
  }
  EXPECT_THAT(CheckWeights(layer.weights(), "", /*without_bytes=*/true),
              IsError(absl::StatusCode::kInvalidArgument, "elements; so many are allowed"));
}

}  // namespace
}  // namespace attnd
