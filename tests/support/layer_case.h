// A transformer layer with weights that follow from a seed, and tokens for it.
#ifndef ATTND_TESTS_SUPPORT_LAYER_CASE_H_
#define ATTND_TESTS_SUPPORT_LAYER_CASE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/support/multihead_case.h"
#include "tests/support/random.h"

namespace attnd {

// Width of LayerCase.
inline constexpr int64_t kLayerWidth = 64;

// A causal POST layer of 4 heads that asks for everything; without tokens.
inline MultiHeadCase LayerCase(uint64_t seed = 7) {
  using Role = WeightRole;
  MultiHeadCase c;
  Random random(seed);
  const auto add = [&](Role role, std::vector<int64_t> shape, float factor) {
    c.weights.tensors[role] = RandomTensor(random, DataType::kFloat32, std::move(shape), factor, c.owners);
  };
  c.weights.orientation = Orientation::kOutIn;
  add(Role::kQkv, {192, 64}, .125F);
  add(Role::kQkvBias, {192}, 1);
  add(Role::kOutput, {64, 64}, .125F);
  add(Role::kOutputBias, {64}, 1);
  add(Role::kAttentionNormScale, {64}, 1);
  add(Role::kAttentionNormShift, {64}, 1);
  add(Role::kFfnNormScale, {64}, 1);
  add(Role::kUp, {130, 64}, .125F);
  add(Role::kUpBias, {130}, 1);
  add(Role::kDown, {64, 130}, .1F);
  c.request.heads = 4;
  c.request.options.causal = true;
  c.request.block = {NormPlacement::kPost, NormKind::kLayerNorm, Activation::kGelu, {}};
  c.request.outputs = {.lse = true, .weights = WeightsOutput(), .scores = ScoreStage::kScaled};
  return c;
}

// The same weights and request with these tokens.
inline MultiHeadCase OfTokens(int64_t batch, int64_t len, const MultiHeadCase& weights_of, uint64_t seed) {
  MultiHeadCase c = weights_of;
  Random random(seed);
  c.request.query = RandomTensor(random, DataType::kFloat32, {batch, len, kLayerWidth}, 1, c.owners);
  return c;
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_LAYER_CASE_H_
