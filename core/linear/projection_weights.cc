#include "core/linear/projection_weights.h"

namespace attnd {
namespace {

using enum WeightKind;
using Role = WeightRole;

constexpr WeightRoleInfo kRoles[] = {
    {Role::kQuery, "w_query", kMatrix},
    {Role::kKey, "w_key", kMatrix},
    {Role::kValue, "w_value", kMatrix},
    {Role::kOutput, "w_output", kMatrix},
    {Role::kQueryBias, "b_query", kVector},
    {Role::kKeyBias, "b_key", kVector},
    {Role::kValueBias, "b_value", kVector},
    {Role::kOutputBias, "b_output", kVector},
    {Role::kQkv, "w_qkv", kMatrix},
    {Role::kQkvBias, "b_qkv", kVector},
    {Role::kExtraKey, "bias_k", kVector},
    {Role::kExtraValue, "bias_v", kVector},
    {Role::kQueryNorm, "query_norm", kVector},
    {Role::kKeyNorm, "key_norm", kVector},
    {Role::kPositionTable, "position_table", kTable},
    {Role::kAttentionNormScale, "block.attention_norm_scale", kVector},
    {Role::kAttentionNormShift, "block.attention_norm_shift", kVector},
    {Role::kFfnNormScale, "block.ffn_norm_scale", kVector},
    {Role::kFfnNormShift, "block.ffn_norm_shift", kVector},
    {Role::kUp, "block.w_up", kMatrix},
    {Role::kUpBias, "block.b_up", kVector},
    {Role::kGate, "block.w_gate", kMatrix},
    {Role::kGateBias, "block.b_gate", kVector},
    {Role::kDown, "block.w_down", kMatrix},
    {Role::kDownBias, "block.b_down", kVector},
};
static_assert(std::size(kRoles) == kWeightRoles);

}  // namespace

std::span<const WeightRoleInfo> WeightRoles() { return kRoles; }

std::optional<WeightRole> WeightRoleFromName(std::string_view name) {
  for (const WeightRoleInfo& info : kRoles) {
    if (name == info.name) return info.role;
  }
  return std::nullopt;
}

int64_t ElementsOf(const WeightShapes& shapes) {
  int64_t elements = 0;
  for (const WeightRoleInfo& info : kRoles) {
    if (shapes.has(info.role)) elements += *Product(shapes.extents[info.role]);
  }
  return elements;
}

}  // namespace attnd
