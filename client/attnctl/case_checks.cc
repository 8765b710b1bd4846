// The parts of case_options.h that look at options together, and at names that are none.
#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/option_rules.h"
#include "client/attnctl/option_values.h"

namespace attnd::attnctl {
namespace {

// Fields of the service's contract.
constexpr std::array<std::string_view, 1> kNotSent = {"precision"};

using OtherName = std::pair<std::string_view, std::string_view>;

// In cases with embeddings, before the others.
constexpr std::array<OtherName, 9> kOtherMultiHeadNames = {{
    {"embeddings", "query"},
    {"explain", "outputs explain"},
    {"key_embeddings", "key"},
    {"norm_epsilon", "qk_norm_epsilon or block_norm_epsilon"},
    {"norm_first", "block pre or block post"},
    {"norm_placement", "block"},
    {"num_heads", "heads"},
    {"packed", "layout packed"},
    {"value_embeddings", "value"},
}};

// What other programs, and the contract's messages, call what options here say.
constexpr std::array<OtherName, 30> kOtherNames = {{
    {"alibi", "alibi_slopes"},
    {"attention_bias", "bias"},
    {"attention_mask", "mask (boolean) or bias (numbers)"},
    {"attn_bias", "bias"},
    {"attn_mask", "mask (boolean) or bias (numbers)"},
    {"biases", "bias, or bias.0, bias.1, ..."},
    {"cu_seqlens_k", "kv_lengths, which are not cumulative"},
    {"cu_seqlens_q", "q_lengths, which are not cumulative"},
    {"diagnostics", "outputs diagnostics"},
    {"documents", "query_ids and key_ids"},
    {"explain", "the command attnctl explain"},
    {"heatmap", "outputs heatmap"},
    {"is_causal", "causal"},
    {"key_padding_mask", "mask with mask_polarity drop, or kv_lengths"},
    {"kv_num_heads", "kv_heads"},
    {"left_window_size", "window_left"},
    {"masks", "mask, or mask.0, mask.1, ..."},
    {"nonpad_kv_seqlen", "kv_lengths"},
    {"past_key", "key, with the past in front"},
    {"past_value", "value, with the past in front"},
    {"polarity", "mask_polarity"},
    {"q_num_heads", "heads"},
    {"qk_matmul_output_mode", "outputs with score_stage"},
    {"right_window_size", "window_right"},
    {"rope", "rope_style"},
    {"sink", "sinks"},
    {"softmax_scale", "scale"},
    {"stage", "score_stage"},
    {"window", "window_left and window_right"},
    {"window_size", "window_left and window_right"},
}};

// What is wrong with an option, by the name it has where it is given or ought to be.
absl::Status Wrong(const OptionNamer& where, const std::string& name, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(where(name), ": ", problem));
}

const OtherName* FindOther(std::span<const OtherName> names, std::string_view plain) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const auto& pair) { return pair.first == plain; });
  return found == names.end() ? nullptr : &*found;
}

// As a rule would spell it.
std::string Plain(const std::string& name) {
  std::string plain = absl::AsciiStrToLower(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  return plain;
}

// Whether at most one insertion, deletion, replacement or swap of neighbours turns `a`
// into `b`.
bool OneSlipApart(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > 1) return false;
  const auto at = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
  const auto rest_a = a.substr(at);
  const auto rest_b = b.substr(at);
  if (rest_a.size() < rest_b.size()) return rest_a == rest_b.substr(1);
  if (rest_a.size() < 2) return true;
  const bool swapped = rest_a[0] == rest_b[1] && rest_a[1] == rest_b[0] && rest_a.substr(2) == rest_b.substr(2);
  return swapped || rest_a.substr(1) == rest_b.substr(1);
}

absl::Status Expand(OptionTexts* texts, const std::string& name, const std::string& text, const std::string& place) {
  const auto [at, is_new] = texts->emplace(name, text);
  if (is_new || at->second == text) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", place, "' stands for ", name, " ", text, ", but ", name, " is '", at->second, "'"));
}

absl::Status FinishMasks(const OptionNamer& where, Case* result) {
  const Case::Pending& pending = result->pending;
  const size_t count = pending.masks.size();
  const size_t polarities = pending.mask_polarity.size();
  if (count == 0) {
    if (polarities > 0) return Wrong(where, "mask_polarity", "there is no mask");
    return pending.mask_bits.has_value() ? Wrong(where, "mask_bits", "there is no mask") : absl::OkStatus();
  }
  const auto packed = [](const auto& mask) { return mask.dtype == StoredType::kU8; };
  if (pending.mask_bits.has_value() && std::none_of(pending.masks.begin(), pending.masks.end(), packed)) {
    return Wrong(where, "mask_bits", "no mask is of uint8");
  }
  if (polarities == 0) {
    return Wrong(where, "mask_polarity",
                 "is needed with a mask: keep (true: the key takes part) or drop (true: it is ignored)");
  }
  if (polarities != 1 && polarities != count) {
    return Wrong(
        where, "mask_polarity",
        absl::StrCat("has ", polarities, " words, but there are ", count, " masks; one, or one per mask, is allowed"));
  }
  for (size_t i = 0; i < count; ++i) {
    auto mask = ToMask(pending.masks.at(i), pending.mask_bits);
    if (!mask.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(pending.masks.at(i).name, ": ", std::string(mask.status().message())));
    }
    result->request.options.masks.push_back({*std::move(mask), pending.mask_polarity.at(polarities == 1 ? 0 : i)});
  }
  return absl::OkStatus();
}

absl::Status NarrowIds(const OptionNamer& where, const char* name, const std::vector<int64_t>& ids,
                       std::vector<int32_t>* narrow) {
  for (const int64_t id : ids) {
    if (id < std::numeric_limits<int32_t>::min() || id > std::numeric_limits<int32_t>::max()) {
      return Wrong(where, name, absl::StrCat("has ", id, ", which is no 32-bit integer"));
    }
    narrow->push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status FinishDocuments(const OptionNamer& where, Case* result) {
  const Case::Pending& pending = result->pending;
  if (pending.query_ids.empty() && pending.key_ids.empty()) return absl::OkStatus();
  if (pending.query_ids.empty()) return Wrong(where, "query_ids", "is needed with key_ids");
  Documents& documents = result->request.options.documents.emplace();
  if (auto status = NarrowIds(where, "query_ids", pending.query_ids, &documents.query_ids); !status.ok()) return status;
  return NarrowIds(where, "key_ids", pending.key_ids, &documents.key_ids);
}

absl::Status FinishOutputs(const OptionNamer& where, Case* result) {
  const Case::Pending& pending = result->pending;
  AttentionOutputs& outputs = result->request.outputs;
  if (!outputs.weights.has_value()) {
    if (pending.mean_weights.has_value()) return Wrong(where, "weights_heads", "outputs does not ask for weights");
    if (!pending.weights_rows.empty()) return Wrong(where, "weights_rows", "outputs does not ask for weights");
  } else {
    outputs.weights->mean = pending.mean_weights.value_or(false);
    outputs.weights->rows = pending.weights_rows;
  }
  if (!outputs.scores.has_value()) {
    return pending.score_stage == ScoreStage::kUnset ? absl::OkStatus()
                                                     : Wrong(where, "score_stage", "outputs does not ask for scores");
  }
  outputs.scores = pending.score_stage;
  if (pending.score_stage != ScoreStage::kUnset) return absl::OkStatus();
  return Wrong(where, "score_stage", "is needed with scores: unscaled, scaled, capped or biased");
}

// The options that the call has in common with Attend, and the block.
absl::Status FinishMultiHead(const OptionNamer& where, Case* result) {
  MultiHeadRequest& request = result->multihead.request;
  if (request.heads == 0) return Wrong(where, "heads", "is needed");
  if (request.block.has_value()) {
    if (request.block->placement == NormPlacement::kUnset) {
      return Wrong(where, "block", "is needed with norm, activation and block_norm_epsilon: pre or post");
    }
    if (request.block->norm == NormKind::kUnset) {
      return Wrong(where, "norm", "is needed with a block: layer_norm or rms_norm");
    }
  }
  request.kv_heads = result->request.kv_heads;
  request.options = result->request.options;
  request.outputs = result->request.outputs;
  request.owner = result->request.owner;
  return absl::OkStatus();
}

}  // namespace

std::string FlagName(std::string_view name) {
  std::string flag = absl::StrCat("--", std::string(name));
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string FlagName(const OptionRule& rule) { return FlagName(rule.flag == nullptr ? rule.name : rule.flag); }

absl::Status ExpandCausal(OptionTexts* texts) {
  const auto causal = texts->find("causal");
  if (causal == texts->end() || causal->second.empty() || causal->second == "true" || causal->second == "false") {
    return absl::OkStatus();
  }
  const std::string place = std::exchange(causal->second, "true");
  if (place == "top_left" || place == "bottom_right") return Expand(texts, "alignment", place, place);
  std::vector<int64_t> offsets;
  if (!ReadIntegers(place, &offsets).ok()) {
    return Unfit(place,
                 "top_left, bottom_right, true, false or the first query's position (one, or one per batch entry)");
  }
  if (auto status = Expand(texts, "alignment", "offset", place); !status.ok()) return status;
  return Expand(texts, "q_offset", place, place);
}

absl::Status FinishCase(const OptionNamer& where, Case* result) {
  for (const auto finish : {FinishMasks, FinishDocuments, FinishOutputs, FinishSummaries}) {
    if (auto status = finish(where, result); !status.ok()) return status;
  }
  const auto& rope = result->request.options.rope;
  if (rope.has_value() && rope->style == RopeStyle::kUnset) {
    return Wrong(where, "rope_style", "is needed with positions and other options of RoPE: half or interleaved");
  }
  result->request.owner = std::make_shared<std::vector<std::shared_ptr<const void>>>(result->owners);
  return result->kind == CaseKind::kMultiHead ? FinishMultiHead(where, result) : absl::OkStatus();
}

absl::Status CheckNotMissed(CaseKind kind, const std::string& name) {
  const std::string plain = Plain(name);
  const OtherName* other = kind == CaseKind::kMultiHead ? FindOther(kOtherMultiHeadNames, plain) : nullptr;
  if (other == nullptr && std::find(kNotSent.begin(), kNotSent.end(), plain) != kNotSent.end()) {
    return absl::UnimplementedError(absl::StrCat("'", name, "' would change the result, but attnctl does not send it"));
  }
  if (other == nullptr) other = FindOther(kOtherNames, plain);
  if (other == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", name, "' is no option here; say it with ", std::string(other->second)));
}

absl::Status CheckNoSlip(CaseKind kind, const std::string& name, bool is_tensor) {
  const std::string plain = Plain(name);
  const auto rules = OptionRules(kind);
  const auto meant = std::find_if(rules.begin(), rules.end(), [&](const OptionRule& rule) {
    return (is_tensor ? rule.TakesTensor() : rule.TakesText()) && OneSlipApart(plain, rule.name);
  });
  if (meant == rules.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no option; is '", meant->name, "' meant?"));
}

}  // namespace attnd::attnctl
