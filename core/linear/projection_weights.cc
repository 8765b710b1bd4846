#include "core/linear/projection_weights.h"

namespace attnd {
namespace {

using enum WeightKind;
using Role = WeightRole;

constexpr WeightRoleInfo kRoles[] = {
    {"w_query", Role::kQuery, kMatrix},
    {"w_key", Role::kKey, kMatrix},
    {"w_value", Role::kValue, kMatrix},
    {"w_output", Role::kOutput, kMatrix},
    {"b_query", Role::kQueryBias, kVector},
    {"b_key", Role::kKeyBias, kVector},
    {"b_value", Role::kValueBias, kVector},
    {"b_output", Role::kOutputBias, kVector},
    {"w_qkv", Role::kQkv, kMatrix},
    {"b_qkv", Role::kQkvBias, kVector},
    {"bias_k", Role::kExtraKey, kVector},
    {"bias_v", Role::kExtraValue, kVector},
    {"query_norm", Role::kQueryNorm, kVector},
    {"key_norm", Role::kKeyNorm, kVector},
    {"position_table", Role::kPositionTable, kTable},
    {"block.attention_norm_scale", Role::kAttentionNormScale, kVector},
    {"block.attention_norm_shift", Role::kAttentionNormShift, kVector},
    {"block.ffn_norm_scale", Role::kFfnNormScale, kVector},
    {"block.ffn_norm_shift", Role::kFfnNormShift, kVector},
    {"block.w_up", Role::kUp, kMatrix},
    {"block.b_up", Role::kUpBias, kVector},
    {"block.w_gate", Role::kGate, kMatrix},
    {"block.b_gate", Role::kGateBias, kVector},
    {"block.w_down", Role::kDown, kMatrix},
    {"block.b_down", Role::kDownBias, kVector},
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
