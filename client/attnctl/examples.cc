#include "client/attnctl/examples.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace attnd::attnctl {
namespace {

using Floats = std::span<const float>;

// Numbers as rows of `columns`.
TensorView FloatsView(Floats values, size_t columns) {
  return {DataType::kFloat32,
          {static_cast<int64_t>(values.size() / columns), static_cast<int64_t>(columns)},
          Fragments(std::as_bytes(values))};
}

// Rows for tokens.
struct Matrix {
  Floats numbers;
  size_t columns = 0;
};

// One head.
struct AttendExample {
  const char* name;
  const char* title;
  std::vector<std::string> tokens;
  // Of the keys, if they are others.
  std::vector<std::string> key_tokens = {};
  Matrix query;
  Matrix key;
  Matrix value;
  // Unset: 1 / sqrt(columns of the query).
  std::optional<float> scale = {};
  bool causal = false;
};

// Three tokens with three made-up features each.
constexpr float kCatSat[] = {.2F, .8F, .1F, .9F, .3F, .7F, .4F, .6F, .5F};

// What embeddings [.1 .2 .3 .4], [.5 .6 .7 .8], [.9 1 1.1 1.2] become in a head of two features.
constexpr float kFoundQuery[] = {.06F, .08F, .14F, .24F, .22F, .40F};
constexpr float kFoundKey[] = {.04F, .08F, .12F, .20F, .20F, .32F};
constexpr float kFoundValue[] = {.03F, .03F, .11F, .11F, .19F, .19F};

// The second key scores 0 against whatever query.
constexpr float kPairQuery[] = {.40F, -.05F, .23F, .21F};
constexpr float kPairKey[] = {-.01F, .79F, -.07F, .53F, 0, 0, 0, 0};
constexpr float kPairValue[] = {1, 0, 0, 1};

// Made up: what a token looks for (query) and is (key) is animal, thing, action, small word.
constexpr float kClimbQuery[] = {.2F, .2F, .1F, .3F, .3F, .2F, .9F, .1F, .9F, .6F, .1F, .1F, .6F, .7F, .1F, .2F,
                                 .1F, .3F, .8F, .1F, .2F, .1F, .9F, .2F, 2,   .3F, .2F, 0,   1,   .1F, .8F, .1F,
                                 .1F, .1F, 1,   .2F, .8F, .6F, .3F, .1F, .6F, .5F, .1F, .2F, .2F, .1F, .9F, .1F};
constexpr float kClimbKey[] = {.1F, .1F,  0,   .9F, 1.8F, .2F, .1F,  0,   .1F, .2F, 1.6F, 0,   .1F,  .1F, 0,    .9F,
                               .1F, 1.7F, .1F, 0,   0,    .1F, .3F,  .8F, .7F, .3F, 0,    .3F, .3F,  .1F, 1.2F, .1F,
                               0,   0,    .3F, .8F, .2F,  .1F, 1.6F, 0,   .1F, .1F, 0,    .9F, 1.5F, .4F, .1F,  0};
// Who, what, what is done.
constexpr float kClimbValue[] = {.1F, .1F, 0, 1,   .2F, .1F, .1F, .1F, 1,   0,   .1F, 0, .1F, 1,   .1F, .1F, .1F, .2F,
                                 .5F, .2F, 0, .2F, .1F, .8F, 0,   .1F, .2F, .2F, .2F, 1, 0,   .1F, 0,   .7F, .6F, .1F};

AttendExample CatSat(const char* name) {
  constexpr Matrix kTokens = {kCatSat, 3};
  return {.name = name,
          .title = "Self-attention of \"The cat sat\": query = key = value",
          .tokens = {"The", "cat", "sat"},
          .query = kTokens,
          .key = kTokens,
          .value = kTokens};
}

std::vector<AttendExample> MakeAttendExamples() {
  AttendExample unscaled = CatSat("cat-sat");
  unscaled.scale = 1.0F;
  AttendExample causal = CatSat("cat-sat-causal");
  causal.causal = true;
  return {
      std::move(unscaled),
      CatSat("cat-sat-scaled"),
      std::move(causal),
      {.name = "you-found-me",
       .title = "Self-attention of \"You found me\" in a head of two features",
       .tokens = {"You", "found", "me"},
       .query = {kFoundQuery, 2},
       .key = {kFoundKey, 2},
       .value = {kFoundValue, 2}},
      {.name = "two-tokens",
       .title = R"("cat" looks at "sat", against a key of zeros)",
       .tokens = {"cat"},
       .key_tokens = {"sat", "zeros"},
       .query = {kPairQuery, 4},
       .key = {kPairKey, 4},
       .value = {kPairValue, 2}},
      {.name = "climbing-cat",
       .title = "Self-attention of a sentence of 12 tokens, made-up numbers",
       .tokens = {"The", "cat", "climbed", "a", "tree", "because", "it", "wanted", "to", "catch", "a", "bird"},
       .query = {kClimbQuery, 4},
       .key = {kClimbKey, 4},
       .value = {kClimbValue, 3}},
  };
}

const std::vector<AttendExample>& AttendExamples() {
  static const std::vector<AttendExample> examples = MakeAttendExamples();
  return examples;
}

TensorView FloatsView(const Matrix& matrix) { return FloatsView(matrix.numbers, matrix.columns); }

void Make(const AttendExample& example, Case* result) {
  result->title = example.title;
  result->tokens = example.tokens;
  result->key_tokens = example.key_tokens;
  AttentionRequest& request = result->request;
  request.query = FloatsView(example.query);
  request.key = FloatsView(example.key);
  request.value = FloatsView(example.value);
  request.options.scale = example.scale;
  request.options.causal = example.causal;
}

// Embeddings and weights of the projections, inputs by outputs.
struct MultiHeadExample {
  const char* name;
  const char* title;
  std::vector<std::string> tokens;
  Floats embeddings;
  int64_t heads;
  std::vector<std::pair<WeightRole, Floats>> weights;
};

// Four made-up features each. In the first head tokens score high that are alike, in the
// second one those that differ.
constexpr float kHeadsTokens[] = {.2F, .8F, .1F, .4F, .9F, .3F, .7F, .1F, .4F, .6F, .5F, .9F};
constexpr float kHeadsQuery[] = {1, 0, .5F, 0, 0, 1, 0, .5F, .5F, 0, -1, 0, 0, .5F, 0, 1};
constexpr float kHeadsKey[] = {1, 0, 0, .5F, 0, 1, .5F, 0, .5F, 0, 1, 0, 0, .5F, 0, -1};
constexpr float kHeadsValue[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
constexpr float kHeadsOutput[] = {.5F, 0, .5F, 0, 0, .5F, 0, .5F, .5F, 0, -.5F, 0, 0, .5F, 0, -.5F};

// A case of ONNX Runtime's tests.
constexpr float kPackedTokens[] = {.8F, -.5F, 0, 1, .5F, .2F, .3F, -.6F};
constexpr float kPackedWeights[] = {.1F, -.2F, .3F, 1,    1.1F, .3F,  .5F,  .2F,  .3F,  -.6F, 1.5F,  2,
                                    .5F, .1F,  .4F, 1.6F, 1,    2,    .4F,  .8F,  .9F,  .1F,  -1.3F, .7F,
                                    .3F, .2F,  4,   2.2F, 1.6F, 1.1F, .7F,  .2F,  .4F,  1,    1.2F,  .5F,
                                    .2F, .1F,  .4F, 1.6F, 2.4F, 3.3F, 2.1F, 4.2F, 8.4F, 0,    2.1F,  3.2F};
constexpr float kPackedBias[] = {-.5F, .6F, 1.2F, 2.1F, .5F, .7F, .2F, 1.2F, .5F, .4F, .3F, 1.2F};

const std::vector<MultiHeadExample>& MultiHeadExamples() {
  static const std::vector<MultiHeadExample> examples = {
      {"cat-sat",
       "Multi-head self-attention of \"The cat sat\": 2 heads, made-up weights",
       {"The", "cat", "sat"},
       kHeadsTokens,
       2,
       {{WeightRole::kQuery, kHeadsQuery},
        {WeightRole::kKey, kHeadsKey},
        {WeightRole::kValue, kHeadsValue},
        {WeightRole::kOutput, kHeadsOutput}}},
      {"packed-qkv",
       "Multi-head self-attention of two tokens: 2 heads, W_qkv in one piece, biases, no W_O",
       {"first", "second"},
       kPackedTokens,
       2,
       {{WeightRole::kQkv, kPackedWeights}, {WeightRole::kQkvBias, kPackedBias}}},
  };
  return examples;
}

void Make(const MultiHeadExample& example, Case* result) {
  const size_t width = example.embeddings.size() / example.tokens.size();
  result->title = example.title;
  result->tokens = example.tokens;
  MultiHeadRequest& request = result->multihead.request;
  request.query = FloatsView(example.embeddings, width);
  request.heads = example.heads;
  request.explain = true;
  ProjectionWeights& weights = result->multihead.with_request.emplace();
  weights.orientation = Orientation::kInOut;
  for (const auto& [role, numbers] : example.weights) {
    TensorView& tensor = weights.tensors[role].emplace(FloatsView(numbers, numbers.size() / width));
    if (role == WeightRole::kQkvBias) tensor.shape = {static_cast<int64_t>(numbers.size())};
  }
}

template <typename Examples>
std::vector<std::string> NamesOf(const Examples& examples) {
  std::vector<std::string> names;
  names.reserve(examples.size());
  for (const auto& example : examples) names.emplace_back(example.name);
  return names;
}

template <typename Examples>
void MakeNamed(const Examples& examples, std::string_view name, Case* result) {
  Make(*std::find_if(examples.begin(), examples.end(), [&](const auto& example) { return name == example.name; }),
       result);
}

}  // namespace

std::vector<std::string> ExampleNames(CaseKind kind) {
  return kind == CaseKind::kAttend ? NamesOf(AttendExamples()) : NamesOf(MultiHeadExamples());
}

Case Example(CaseKind kind, std::string_view name) {
  Case result;
  result.kind = kind;
  result.request.outputs.weights.emplace();
  if (kind == CaseKind::kAttend) {
    MakeNamed(AttendExamples(), name, &result);
  } else {
    MakeNamed(MultiHeadExamples(), name, &result);
  }
  return result;
}

}  // namespace attnd::attnctl
