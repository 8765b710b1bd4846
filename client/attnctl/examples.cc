#include "client/attnctl/examples.h"

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace attnd::attnctl {
namespace {

template <size_t kCount>
TensorView FloatsView(const std::array<float, kCount>& values, std::vector<int64_t> shape) {
  return {DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(values)))};
}

// Self-attention of three tokens with three made-up features each.
void MakeAttend(Case* result) {
  static constexpr std::array<float, 9> kTokens = {.2F, .8F, .1F, .9F, .3F, .7F, .4F, .6F, .5F};
  result->title = "Self-attention of \"The cat sat\": query = key = value";
  AttentionRequest& request = result->request;
  request.query = FloatsView(kTokens, {3, 3});
  request.key = request.value = request.query;
  request.options.scale = 1;
}

// The same of four made-up features each, in two heads of two features each. In the first
// one tokens score high that are alike, in the second one those that differ.
void MakeMultiHead(Case* result) {
  static constexpr std::array<float, 12> kTokens = {.2F, .8F, .1F, .4F, .9F, .3F, .7F, .1F, .4F, .6F, .5F, .9F};
  static constexpr std::array<float, 16> kQuery = {1, 0, .5F, 0, 0, 1, 0, .5F, .5F, 0, -1, 0, 0, .5F, 0, 1};
  static constexpr std::array<float, 16> kKey = {1, 0, 0, .5F, 0, 1, .5F, 0, .5F, 0, 1, 0, 0, .5F, 0, -1};
  static constexpr std::array<float, 16> kValue = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
  static constexpr std::array<float, 16> kOutput = {.5F, 0, .5F, 0, 0, .5F, 0, .5F, .5F, 0, -.5F, 0, 0, .5F, 0, -.5F};
  result->title = "Multi-head self-attention of \"The cat sat\": 2 heads, made-up weights";
  MultiHeadRequest& request = result->multihead.request;
  request.query = FloatsView(kTokens, {3, 4});
  request.heads = 2;
  request.explain = true;
  ProjectionWeights& weights = result->multihead.with_request.emplace();
  weights.orientation = Orientation::kInOut;
  weights.tensors[WeightRole::kQuery] = FloatsView(kQuery, {4, 4});
  weights.tensors[WeightRole::kKey] = FloatsView(kKey, {4, 4});
  weights.tensors[WeightRole::kValue] = FloatsView(kValue, {4, 4});
  weights.tensors[WeightRole::kOutput] = FloatsView(kOutput, {4, 4});
}

}  // namespace

Case Example(CaseKind kind) {
  Case result;
  result.kind = kind;
  result.tokens = {"The", "cat", "sat"};
  result.request.outputs.weights.emplace();
  if (kind == CaseKind::kAttend) {
    MakeAttend(&result);
  } else {
    MakeMultiHead(&result);
  }
  return result;
}

}  // namespace attnd::attnctl
