#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "client/attnctl/option_rules.h"
#include "client/attnctl/option_values.h"

namespace attnd::attnctl {
namespace {

constexpr char kModel[] = "Model";
constexpr char kBlock[] = "Block: a whole transformer layer instead of its attention alone";

MultiHeadRequest& RequestOf(Case* result) { return result->multihead.request; }

TransformerBlock& BlockOf(Case* result) {
  auto& block = RequestOf(result).block;
  return block.has_value() ? *block : block.emplace();
}

absl::Status ReadEpsilon(const std::string& text, std::optional<float>* epsilon) {
  if (auto status = ReadNumber(text, epsilon); !status.ok()) return status;
  return **epsilon >= 0 ? absl::OkStatus() : Unfit(text, "a number >= 0");
}

absl::Status ReadHeads(const std::string& text, Case* result) {
  std::optional<int64_t> heads;
  if (auto status = ReadSmallCount(text, &heads); !status.ok()) return status;
  RequestOf(result).heads = *heads;
  return absl::OkStatus();
}

absl::Status ReadLayout(const std::string& text, Case* result) {
  constexpr Choice<Layout> kChoices[] = {{"tokens_first", Layout::kTokensFirst}, {"packed", Layout::kPacked}};
  return ReadChoice(text, kChoices, &RequestOf(result).layout);
}

absl::Status ReadEncoding(const std::string& text, Case* result) {
  constexpr Choice<PositionEncoding> kChoices[] = {{"none", PositionEncoding::kNone},
                                                   {"sinusoidal", PositionEncoding::kSinusoidal},
                                                   {"learned", PositionEncoding::kLearned}};
  return ReadChoice(text, kChoices, &RequestOf(result).position_encoding);
}

absl::Status ReadBlock(const std::string& text, Case* result) {
  constexpr Choice<NormPlacement> kChoices[] = {{"pre", NormPlacement::kPre}, {"post", NormPlacement::kPost}};
  return ReadChoice(text, kChoices, &BlockOf(result).placement);
}

absl::Status ReadNorm(const std::string& text, Case* result) {
  constexpr Choice<NormKind> kChoices[] = {{"layer_norm", NormKind::kLayerNorm}, {"rms_norm", NormKind::kRmsNorm}};
  return ReadChoice(text, kChoices, &BlockOf(result).norm);
}

absl::Status ReadActivation(const std::string& text, Case* result) {
  constexpr Choice<Activation> kChoices[] = {{"gelu", Activation::kGelu},
                                             {"gelu_tanh", Activation::kGeluTanh},
                                             {"relu", Activation::kRelu},
                                             {"swiglu", Activation::kSwiglu}};
  return ReadChoice(text, kChoices, &BlockOf(result).activation);
}

// A tensor whose flag has a name of its own.
constexpr OptionRule EmbeddingsRule(const char* name, const char* flag, const char* help,
                                    absl::Status (*tensor)(const StoredTensor&, Case*)) {
  OptionRule rule = TensorRule(name, kTensors, help, tensor);
  rule.flag = flag;
  return rule;
}

constexpr std::array kRules = {
    EmbeddingsRule("query", "embeddings",
                   "instead of --input: [len, width] or [batch, len, width]; packed:\n"
                   "[total_len, width]; in a case: query",
                   [](const StoredTensor& t, Case* c) { return ReadTensor(t, &RequestOf(c).query); }),
    EmbeddingsRule("key", "key_embeddings", "of the keys (default: the queries'); in a case: key",
                   [](const StoredTensor& t, Case* c) { return ReadTensor(t, &RequestOf(c).key.emplace()); }),
    EmbeddingsRule("value", "value_embeddings", "of the values (default: the keys'); in a case: value",
                   [](const StoredTensor& t, Case* c) { return ReadTensor(t, &RequestOf(c).value.emplace()); }),
    TextRule("layout", kTensors, "LAYOUT",
             "tokens_first (default), or packed: sequences one after the other, as\n"
             "--q-lengths and --kv-lengths say",
             ReadLayout),
    TextRule("heads", kModel, "N", "query heads; needed", ReadHeads),
    TextRule("kv_heads", kModel, "N", "key and value heads (default: as --heads)",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &c->request.kv_heads); }),
    TextRule("value_dim", kModel, "N", "of a head; for w_qkv without w_output, if it is not head_dim",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &RequestOf(c).value_dim); }),
    TextRule("position_encoding", kModel, "WORD", "added to the embeddings: sinusoidal, learned or none (default)",
             ReadEncoding),
    LoneRule("add_zero_attn", kModel, "[BOOL]", "every query sees a key and a value of zeros, too",
             [](const std::string& t, Case* c) { return ReadSwitch(t, &RequestOf(c).add_zero_attn); }),
    TextRule("qk_norm_epsilon", kModel, "X",
             "of the norms of projected query and key heads (default 1e-6); the\n"
             "request's norm_epsilon",
             [](const std::string& t, Case* c) { return ReadEpsilon(t, &RequestOf(c).norm_epsilon); }),
    TextRule("block", kBlock, "WORD", "where its norms are: pre (GPT-2, Llama) or post (BERT)", ReadBlock),
    TextRule("norm", kBlock, "WORD", "layer_norm or rms_norm; needed with a block", ReadNorm),
    TextRule("activation", kBlock, "WORD", "of the feed-forward network: gelu, gelu_tanh, relu or swiglu",
             ReadActivation),
    TextRule("block_norm_epsilon", kBlock, "X", "of its norms (default 1e-5); the request's block.norm_epsilon",
             [](const std::string& t, Case* c) { return ReadEpsilon(t, &BlockOf(c).norm_epsilon); }),
    TextRule("outputs", kOutputs, "WORDS", "lse, weights, scores, top_k, diagnostics, heatmap, explain (the stages)",
             [](const std::string& t, Case* c) { return ReadOutputs(t, &c->request.outputs, &RequestOf(c).explain); }),
};

}  // namespace

std::span<const OptionRule> MultiHeadRules() { return kRules; }

}  // namespace attnd::attnctl
