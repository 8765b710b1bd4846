#include "core/linear/weight_presets.h"

#include <string>
#include <utility>

namespace attnd {
namespace {

using Role = WeightRole;

struct Rule {
  Role role;
  const char* name;
};

std::vector<WeightRule> Rules(std::initializer_list<Rule> rules, const std::string& before = "") {
  std::vector<WeightRule> all;
  for (const auto& [role, name] : rules) all.push_back({role, NamePattern(before + name)});
  return all;
}

// Our own names.
NamingScheme Attnd(std::vector<Role> required) {
  NamingScheme scheme{.name = "attnd", .rules = {}, .required = std::move(required)};
  for (const WeightRoleInfo& info : WeightRoles()) scheme.rules.push_back({info.role, NamePattern(info.name)});
  return scheme;
}

// torch.nn.MultiheadAttention.state_dict(); with `before` as a part of something.
std::vector<WeightRule> TorchAttention(const std::string& before) {
  return Rules({{Role::kQkv, "in_proj_weight"},
                {Role::kQkvBias, "in_proj_bias"},
                {Role::kQuery, "q_proj_weight"},
                {Role::kKey, "k_proj_weight"},
                {Role::kValue, "v_proj_weight"},
                {Role::kOutput, "out_proj.weight"},
                {Role::kOutputBias, "out_proj.bias"},
                {Role::kExtraKey, "bias_k"},
                {Role::kExtraValue, "bias_v"}},
               before);
}

NamingScheme TorchAttention(std::vector<Role> required) {
  return {.name = "torch",
          .orientation = Orientation::kOutIn,
          .rules = TorchAttention(std::string()),
          .required = std::move(required)};
}

// torch.nn.TransformerEncoderLayer.
NamingScheme TorchLayer(std::vector<Role> required) {
  NamingScheme scheme{.name = "torch",
                      .orientation = Orientation::kOutIn,
                      .rules = TorchAttention("self_attn."),
                      .required = std::move(required)};
  for (WeightRule& rule : Rules({{Role::kAttentionNormScale, "norm1.weight"},
                                 {Role::kAttentionNormShift, "norm1.bias"},
                                 {Role::kFfnNormScale, "norm2.weight"},
                                 {Role::kFfnNormShift, "norm2.bias"},
                                 {Role::kUp, "linear1.weight"},
                                 {Role::kUpBias, "linear1.bias"},
                                 {Role::kDown, "linear2.weight"},
                                 {Role::kDownBias, "linear2.bias"}})) {
    scheme.rules.push_back(std::move(rule));
  }
  for (const Role role : {Role::kAttentionNormScale, Role::kFfnNormScale, Role::kUp, Role::kDown}) {
    scheme.required.push_back(role);
  }
  // A TransformerDecoderLayer's norms are others; its attentions are found one by one.
  for (const char* name : {"multihead_attn.in_proj_weight", "multihead_attn.q_proj_weight"}) {
    scheme.foreign.emplace_back(name);
  }
  return scheme;
}

// Hugging Face's BertLayer and its likes (RoBERTa, ELECTRA).
NamingScheme Bert() {
  return {.name = "bert",
          .orientation = Orientation::kOutIn,
          .rules = Rules({{Role::kQuery, "attention.self.query.weight"},
                          {Role::kQueryBias, "attention.self.query.bias"},
                          {Role::kKey, "attention.self.key.weight"},
                          {Role::kKeyBias, "attention.self.key.bias"},
                          {Role::kValue, "attention.self.value.weight"},
                          {Role::kValueBias, "attention.self.value.bias"},
                          {Role::kOutput, "attention.output.dense.weight"},
                          {Role::kOutputBias, "attention.output.dense.bias"},
                          {Role::kAttentionNormScale, "attention.output.LayerNorm.weight"},
                          {Role::kAttentionNormShift, "attention.output.LayerNorm.bias"},
                          {Role::kAttentionNormScale, "attention.output.LayerNorm.gamma"},
                          {Role::kAttentionNormShift, "attention.output.LayerNorm.beta"},
                          {Role::kUp, "intermediate.dense.weight"},
                          {Role::kUpBias, "intermediate.dense.bias"},
                          {Role::kDown, "output.dense.weight"},
                          {Role::kDownBias, "output.dense.bias"},
                          {Role::kFfnNormScale, "output.LayerNorm.weight"},
                          {Role::kFfnNormShift, "output.LayerNorm.bias"},
                          {Role::kFfnNormScale, "output.LayerNorm.gamma"},
                          {Role::kFfnNormShift, "output.LayerNorm.beta"}},
                         "layer.{layer}."),
          .required = {Role::kQuery, Role::kKey, Role::kValue, Role::kOutput},
          // Cross-attention comes between the two parts of the layer.
          .foreign = {NamePattern("layer.{layer}.crossattention.self.query.weight")}};
}

// Hugging Face's GPT2Block: Conv1D is [in, out].
NamingScheme Gpt2() {
  return {.name = "gpt2",
          .orientation = Orientation::kInOut,
          .rules = Rules({{Role::kQkv, "attn.c_attn.weight"},
                          {Role::kQkvBias, "attn.c_attn.bias"},
                          {Role::kOutput, "attn.c_proj.weight"},
                          {Role::kOutputBias, "attn.c_proj.bias"},
                          {Role::kAttentionNormScale, "ln_1.weight"},
                          {Role::kAttentionNormShift, "ln_1.bias"},
                          {Role::kFfnNormScale, "ln_2.weight"},
                          {Role::kFfnNormShift, "ln_2.bias"},
                          {Role::kUp, "mlp.c_fc.weight"},
                          {Role::kUpBias, "mlp.c_fc.bias"},
                          {Role::kDown, "mlp.c_proj.weight"},
                          {Role::kDownBias, "mlp.c_proj.bias"}},
                         "h.{layer}."),
          .required = {Role::kQkv, Role::kOutput},
          .foreign = {NamePattern("h.{layer}.crossattention.c_attn.weight")}};
}

// Hugging Face's LlamaDecoderLayer and its likes (Mistral; Qwen2 with biases, Qwen3 with
// norms of heads).
NamingScheme Llama() {
  return {.name = "llama",
          .orientation = Orientation::kOutIn,
          .rules = Rules({{Role::kQuery, "self_attn.q_proj.weight"},
                          {Role::kQueryBias, "self_attn.q_proj.bias"},
                          {Role::kKey, "self_attn.k_proj.weight"},
                          {Role::kKeyBias, "self_attn.k_proj.bias"},
                          {Role::kValue, "self_attn.v_proj.weight"},
                          {Role::kValueBias, "self_attn.v_proj.bias"},
                          {Role::kOutput, "self_attn.o_proj.weight"},
                          {Role::kOutputBias, "self_attn.o_proj.bias"},
                          {Role::kQueryNorm, "self_attn.q_norm.weight"},
                          {Role::kKeyNorm, "self_attn.k_norm.weight"},
                          {Role::kAttentionNormScale, "input_layernorm.weight"},
                          {Role::kFfnNormScale, "post_attention_layernorm.weight"},
                          {Role::kUp, "mlp.up_proj.weight"},
                          {Role::kUpBias, "mlp.up_proj.bias"},
                          {Role::kGate, "mlp.gate_proj.weight"},
                          {Role::kGateBias, "mlp.gate_proj.bias"},
                          {Role::kDown, "mlp.down_proj.weight"},
                          {Role::kDownBias, "mlp.down_proj.bias"}},
                         "layers.{layer}."),
          .required = {Role::kQuery, Role::kKey, Role::kValue, Role::kOutput},
          // Gemma 2 and 3 have four norms and mean others by the same names.
          .foreign = {NamePattern("layers.{layer}.pre_feedforward_layernorm.weight")}};
}

}  // namespace

std::vector<NamingScheme> PresetSchemes() {
  const std::vector<Role> fused = {Role::kQkv};
  const std::vector<Role> separate = {Role::kQuery, Role::kKey, Role::kValue};
  const std::vector<Role> torch_fused = {Role::kQkv, Role::kOutput};
  const std::vector<Role> torch_separate = {Role::kQuery, Role::kKey, Role::kValue, Role::kOutput};
  return {Bert(),
          Gpt2(),
          Llama(),
          TorchLayer(torch_fused),
          TorchLayer(torch_separate),
          TorchAttention(torch_fused),
          TorchAttention(torch_separate),
          Attnd(fused),
          Attnd(separate)};
}

}  // namespace attnd
