#include "client/attnctl/case_options.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/attnctl/option_rules.h"
#include "client/attnctl/option_values.h"

namespace attnd::attnctl {
namespace {

constexpr char kVisibility[] = "Visibility: a query sees the keys that every rule given allows";
constexpr char kPositions[] = "Positions: what causal, windows, ALiBi and RoPE go by";
constexpr char kScores[] = "Scores";
constexpr char kCall[] = "Call";

Window& WindowOf(Case* result) {
  auto& window = result->request.options.window;
  return window.has_value() ? *window : window.emplace();
}

Rope& RopeOf(Case* result) {
  auto& rope = result->request.options.rope;
  return rope.has_value() ? *rope : rope.emplace();
}

absl::Status ReadLayout(const std::string& text, Case* result) {
  constexpr Choice<Layout> kChoices[] = {
      {"heads_first", Layout::kHeadsFirst}, {"tokens_first", Layout::kTokensFirst}, {"packed", Layout::kPacked}};
  return ReadChoice(text, kChoices, &result->request.layout);
}

// What is left of `causal` after ExpandCausal; without a value it means true.
absl::Status ReadCausal(const std::string& text, Case* result) {
  return ReadSwitch(text, &result->request.options.causal);
}

absl::Status ReadAlignment(const std::string& text, Case* result) {
  constexpr Choice<Alignment> kChoices[] = {
      {"top_left", Alignment::kTopLeft}, {"bottom_right", Alignment::kBottomRight}, {"offset", Alignment::kOffset}};
  return ReadChoice(text, kChoices, &result->request.options.alignment);
}

absl::Status ReadPolarities(const std::string& text, Case* result) {
  constexpr Choice<Polarity> kChoices[] = {{"keep", Polarity::kKeep}, {"drop", Polarity::kDrop}};
  result->pending.mask_polarity.clear();
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, ','))) {
    auto status = ReadChoice(word, kChoices, &result->pending.mask_polarity.emplace_back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadRopeStyle(const std::string& text, Case* result) {
  constexpr Choice<RopeStyle> kChoices[] = {{"half", RopeStyle::kHalf}, {"interleaved", RopeStyle::kInterleaved}};
  return ReadChoice(text, kChoices, &RopeOf(result).style);
}

absl::Status ReadWeightsHeads(const std::string& text, Case* result) {
  constexpr Choice<bool> kChoices[] = {{"each", false}, {"mean", true}};
  return ReadChoice(text, kChoices, &result->pending.mean_weights.emplace());
}

absl::Status ReadScoreStage(const std::string& text, Case* result) {
  constexpr Choice<ScoreStage> kChoices[] = {{"unscaled", ScoreStage::kUnscaled},
                                             {"scaled", ScoreStage::kScaled},
                                             {"capped", ScoreStage::kCapped},
                                             {"biased", ScoreStage::kBiased}};
  return ReadChoice(text, kChoices, &result->pending.score_stage);
}

absl::Status ReadOutputDtype(const std::string& text, Case* result) {
  constexpr Choice<DataType> kChoices[] = {
      {"float32", DataType::kFloat32}, {"float16", DataType::kFloat16}, {"bfloat16", DataType::kBfloat16}};
  return ReadChoice(text, kChoices, &result->request.outputs.dtype.emplace());
}

absl::Status ReadPriority(const std::string& text, Case* result) {
  return absl::SimpleAtoi(text, &result->call.priority) ? absl::OkStatus() : Unfit(text, "a 32-bit integer");
}

constexpr OptionRule NumbersRule(const char* name, const char* group, const char* help,
                                 std::optional<TensorView>* (*numbers)(Case*)) {
  OptionRule rule = {name, group, "LIST", help};
  rule.numbers = numbers;
  return rule;
}

constexpr OptionRule TensorsRule(const char* name, const char* group, const char* help,
                                 absl::Status (*tensor)(const StoredTensor&, Case*)) {
  OptionRule rule = TensorRule(name, group, help, tensor);
  rule.repeats = true;
  return rule;
}

constexpr std::array kAttendRules = {
    TensorRule("query", kTensors, "instead of --input, together with --key and --value",
               [](const StoredTensor& t, Case* c) { return ReadTensor(t, &c->request.query); }),
    TensorRule("key", kTensors, "likewise",
               [](const StoredTensor& t, Case* c) { return ReadTensor(t, &c->request.key); }),
    TensorRule("value", kTensors, "likewise",
               [](const StoredTensor& t, Case* c) { return ReadTensor(t, &c->request.value); }),
    TextRule("layout", kTensors, "LAYOUT",
             "heads_first (default): [batch, heads, len, dim] or [len, dim];\n"
             "tokens_first: [batch, len, heads, dim] or [batch, len, heads*dim];\n"
             "packed: [total_len, heads, dim] with --q-lengths and --kv-lengths",
             ReadLayout),
    TextRule("heads", kTensors, "N", "query heads, needed for [batch, len, heads*dim]",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &c->request.heads); }),
    TextRule("kv_heads", kTensors, "N", "key and value heads, likewise",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &c->request.kv_heads); }),
    TextRule("outputs", kOutputs, "WORDS",
             "beside the output: lse, weights, scores, top_k, diagnostics, heatmap, with\n"
             "commas between them",
             [](const std::string& t, Case* c) { return ReadOutputs(t, &c->request.outputs, /*explain=*/nullptr); }),
};

// Of both kinds of cases.
constexpr std::array kRules = {
    LoneRule("causal", kVisibility, "[PLACE]",
             "no key after the query; PLACE says what lines up where lengths differ:\n"
             "top_left, bottom_right, or the first query's position; it is short for\n"
             "--alignment and --q-offset (--causal=-2 if negative)",
             ReadCausal),
    TextRule("window_left", kVisibility, "N", "at most N keys before the query",
             [](const std::string& t, Case* c) { return ReadCount(t, 0, &WindowOf(c).left); }),
    TextRule("window_right", kVisibility, "N", "at most N keys after it",
             [](const std::string& t, Case* c) { return ReadCount(t, 0, &WindowOf(c).right); }),
    IntegersRule("prefix_lengths", kVisibility, "keys at the start that --causal does not hide",
                 [](Case* c) { return &c->request.options.prefix_lengths; }),
    IntegersRule("q_lengths", kVisibility, "queries used; the other rows return 0",
                 [](Case* c) { return &c->request.options.q_lengths; }),
    IntegersRule("kv_lengths", kVisibility, "keys used", [](Case* c) { return &c->request.options.kv_lengths; }),
    IntegersRule("kv_starts", kVisibility, "first key used (padding on the left)",
                 [](Case* c) { return &c->request.options.kv_starts; }),
    TensorsRule("mask", kVisibility, "boolean, broadcast over [batch, heads, q_len, kv_len]; repeatable",
                [](const StoredTensor& t, Case* c) {
                  c->pending.masks.push_back(t);
                  return absl::OkStatus();
                }),
    TextRule("mask_polarity", kVisibility, "WORD",
             "what true means: keep (the key takes part) or drop (it is ignored); one\n"
             "word, or one per mask",
             ReadPolarities),
    TextRule("mask_bits", kVisibility, "N",
             "masks of uint8 hold a bit per key, N keys per row, as made by\n"
             "np.packbits(mask, axis=-1, bitorder='little')",
             [](const std::string& t, Case* c) { return ReadCount(t, 1, &c->pending.mask_bits); }),
    IntegersRule("query_ids", kVisibility, "document of each query; only keys of the same one are seen",
                 [](Case* c) { return &c->pending.query_ids; }),
    IntegersRule("key_ids", kVisibility, "document of each key (default: the queries')",
                 [](Case* c) { return &c->pending.key_ids; }),
    TextRule("alignment", kPositions, "PLACE",
             "top_left (query 0 at key 0), bottom_right (last query at last key) or\n"
             "offset (as the next two say); needed where the lengths differ",
             ReadAlignment),
    IntegersRule("q_offset", kPositions, "position of query 0 (default 0)",
                 [](Case* c) { return &c->request.options.q_offset; }),
    IntegersRule("k_offset", kPositions, "position of key 0 (default 0)",
                 [](Case* c) { return &c->request.options.k_offset; }),
    TextRule("rope_style", kPositions, "STYLE",
             "rotate query and key, with pairs of elements by half: (i, i + dim/2), or\n"
             "interleaved: (2i, 2i + 1)",
             ReadRopeStyle),
    TextRule("rope_rotary_dim", kPositions, "N", "elements of a head that are rotated (default all)",
             [](const std::string& t, Case* c) { return ReadSmallCount(t, &RopeOf(c).rotary_dim); }),
    TextRule("rope_theta", kPositions, "X", "base of the frequencies (default 10000)",
             [](const std::string& t, Case* c) { return ReadNumber(t, &RopeOf(c).theta); }),
    TextRule("rope_scaling_factor", kPositions, "X", "positions are divided by it (default 1)",
             [](const std::string& t, Case* c) { return ReadNumber(t, &RopeOf(c).scaling_factor); }),
    IntegersRule("query_positions", kPositions, "of each query, for RoPE, instead of --alignment's",
                 [](Case* c) { return &RopeOf(c).query_positions; }),
    IntegersRule("key_positions", kPositions, "of each key, likewise",
                 [](Case* c) { return &RopeOf(c).key_positions; }),
    TextRule("scale", kScores, "X", "factor on query * key^T (default 1 / sqrt(head_dim))",
             [](const std::string& t, Case* c) { return ReadNumber(t, &c->request.options.scale); }),
    TextRule("softcap", kScores, "X", "scores become X * tanh(scores / X)",
             [](const std::string& t, Case* c) { return ReadNumber(t, &c->request.options.softcap); }),
    TensorsRule(
        "bias", kScores, "added to the scores, broadcast as a mask is; repeatable",
        [](const StoredTensor& t, Case* c) { return ReadTensor(t, &c->request.options.biases.emplace_back()); }),
    NumbersRule("alibi_slopes", kScores, "one per head: adds -slope * |distance of positions|",
                [](Case* c) { return &c->request.options.alibi_slopes; }),
    NumbersRule("sinks", kScores, "one per head: a logit in the softmax's denominator only",
                [](Case* c) { return &c->request.options.sinks; }),
    TextRule("weights_heads", kOutputs, "WORD", "each (default), or mean over the heads", ReadWeightsHeads),
    IntegersRule("weights_rows", kOutputs, "query rows to report (default all)",
                 [](Case* c) { return &c->pending.weights_rows; }),
    TextRule("score_stage", kOutputs, "STAGE", "of the scores: unscaled, scaled, capped or biased", ReadScoreStage),
    TextRule("output_dtype", kOutputs, "DTYPE",
             "of output, weights and scores: float32, float16 or bfloat16\n(default: as the query)", ReadOutputDtype),
    TextRule("priority", kCall, "N", "higher is served first (default 0)", ReadPriority),
    TextRule("tenant", kCall, "NAME", "whom the work is for",
             [](const std::string& t, Case* c) {
               c->call.tenant = t;
               return absl::OkStatus();
             }),
};

// The kind's own rules: before those of their group, or before all.
std::vector<OptionRule> Join(std::span<const OptionRule> own) {
  std::vector<OptionRule> rules;
  std::vector<OptionRule> common(kRules.begin(), kRules.end());
  common.insert(common.end(), SummaryRules().begin(), SummaryRules().end());
  for (const OptionRule& rule : own) {
    const auto at = std::find_if(common.begin(), common.end(),
                                 [&](const OptionRule& r) { return std::string_view(r.group) == rule.group; });
    if (at == common.end()) {
      rules.push_back(rule);
    } else {
      common.insert(at, rule);
    }
  }
  rules.insert(rules.end(), common.begin(), common.end());
  return rules;
}

}  // namespace

std::span<const OptionRule> OptionRules(CaseKind kind) {
  static const std::vector<OptionRule> attend = Join(kAttendRules);
  static const std::vector<OptionRule> multihead = Join(MultiHeadRules());
  return kind == CaseKind::kAttend ? attend : multihead;
}

const OptionRule* FindOptionRule(CaseKind kind, std::string_view name) {
  const auto rules = OptionRules(kind);
  const auto rule = std::find_if(rules.begin(), rules.end(), [&](const OptionRule& r) { return name == r.name; });
  return rule == rules.end() ? nullptr : &*rule;
}

absl::Status ReadSmallCount(const std::string& text, std::optional<int64_t>* count) {
  if (auto status = ReadCount(text, 1, count); !status.ok()) return status;
  if (**count <= std::numeric_limits<int32_t>::max()) return absl::OkStatus();
  return Unfit(text, "an integer below 2^31");
}

absl::Status ReadSwitch(const std::string& text, bool* value) {
  constexpr Choice<bool> kChoices[] = {{"true", true}, {"false", false}};
  return ReadChoice(text.empty() ? "true" : text, kChoices, value);
}

absl::Status ReadTensor(const StoredTensor& tensor, TensorView* view) {
  auto numbers = ToNumbers(tensor);
  if (!numbers.ok()) return numbers.status();
  *view = *std::move(numbers);
  return absl::OkStatus();
}

absl::Status ApplyText(const OptionRule& rule, const std::string& text, Case* result) {
  if (rule.integers != nullptr) return ReadIntegers(text, rule.integers(result));
  if (rule.text != nullptr) return rule.text(text, result);
  auto numbers = std::make_shared<std::vector<float>>();
  if (auto status = ReadNumbers(text, numbers.get()); !status.ok()) return status;
  *rule.numbers(result) = TensorView{DataType::kFloat32,
                                     {static_cast<int64_t>(numbers->size())},
                                     Fragments(std::as_bytes(std::span<const float>(*numbers)))};
  result->owners.push_back(std::move(numbers));
  return absl::OkStatus();
}

absl::Status ApplyTensor(const OptionRule& rule, const StoredTensor& tensor, Case* result) {
  if (rule.integers != nullptr) return ReadIntegers(tensor, rule.integers(result));
  if (rule.tensor != nullptr) return rule.tensor(tensor, result);
  return ReadTensor(tensor, &rule.numbers(result)->emplace());
}

}  // namespace attnd::attnctl
