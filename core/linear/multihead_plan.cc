#include "core/linear/multihead_plan.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/tensor_checks.h"
#include "core/errors.h"

namespace attnd {
namespace {

using Role = WeightRole;

constexpr const char* kNames[] = {"query", "key", "value"};

struct HeadDims {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
};

// Columns of a matrix that are to be split into `heads` heads.
absl::StatusOr<int64_t> PerHead(std::string_view field, int64_t heads, std::string_view matrix, int64_t columns) {
  if (columns % heads == 0) return columns / heads;
  return InvalidField(
      field, absl::StrCat("is ", heads, ": it does not divide the ", columns, " columns of ", std::string(matrix)));
}

absl::Status Disagrees(std::string_view field, int64_t is, std::string_view what, int64_t wanted) {
  return InvalidField(field, absl::StrCat("is ", is, ", but ", std::string(what), " is ", wanted));
}

// head_dim and value_dim where query, key and value lie in one matrix.
absl::Status SplitQkv(const MultiHeadRequest& request, const WeightShapes& weights, HeadDims& dims) {
  const int64_t columns = weights.out(Role::kQkv);
  if (weights.has(Role::kOutput)) {
    const auto per_head = PerHead("heads", dims.heads, "w_output's other side", weights.in(Role::kOutput));
    if (!per_head.ok()) return per_head.status();
    dims.value_dim = *per_head;
  } else if (request.value_dim.has_value()) {
    dims.value_dim = *request.value_dim;
  } else {
    const auto per_head = PerHead("heads", dims.heads + 2 * dims.kv_heads, "w_qkv", columns);
    if (!per_head.ok()) {
      return InvalidField("heads",
                          absl::StrCat("is ", dims.heads, ", kv_heads ", dims.kv_heads, ": w_qkv has ", columns,
                                       " columns, no multiple of heads + 2 kv_heads; is value_dim "
                                       "another than head_dim?"));
    }
    dims.value_dim = *per_head;
  }
  int64_t value_columns = 0;
  if (dims.value_dim < 1 || __builtin_mul_overflow(dims.value_dim, dims.kv_heads, &value_columns) ||
      value_columns >= columns || (columns - value_columns) % (dims.heads + dims.kv_heads) != 0) {
    return InvalidField(
        "value_dim", absl::StrCat("is ", dims.value_dim, ": with heads ", dims.heads, " and kv_heads ", dims.kv_heads,
                                  ", w_qkv's ", columns, " columns leave no whole head_dim"));
  }
  dims.head_dim = (columns - value_columns) / (dims.heads + dims.kv_heads);
  return absl::OkStatus();
}

absl::Status SplitSeparate(const WeightShapes& weights, HeadDims& dims) {
  const auto head_dim = PerHead("heads", dims.heads, "w_query", weights.out(Role::kQuery));
  if (!head_dim.ok()) return head_dim.status();
  dims.head_dim = *head_dim;
  const auto key_dim = PerHead("kv_heads", dims.kv_heads, "w_key", weights.out(Role::kKey));
  if (!key_dim.ok()) return key_dim.status();
  if (*key_dim != dims.head_dim) {
    return InvalidField("kv_heads", absl::StrCat("is ", dims.kv_heads, ": w_key has ", *key_dim,
                                                 " columns per head, w_query ", dims.head_dim));
  }
  const auto value_dim = PerHead("kv_heads", dims.kv_heads, "w_value", weights.out(Role::kValue));
  if (!value_dim.ok()) return value_dim.status();
  dims.value_dim = *value_dim;
  return absl::OkStatus();
}

absl::StatusOr<HeadDims> PlanHeads(const MultiHeadRequest& request, const WeightShapes& weights,
                                   const AttentionLimits& limits) {
  HeadDims dims;
  // More than columns is caught by the division; this keeps sums small.
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  dims.heads = request.heads;
  if (dims.heads < 1 || dims.heads > kMost) {
    return InvalidField("heads", absl::StrCat("is ", dims.heads, "; 1 to ", kMost, " is allowed"));
  }
  dims.kv_heads = request.kv_heads.value_or(dims.heads);
  if (dims.kv_heads < 1 || dims.heads % dims.kv_heads != 0) {
    return InvalidField("kv_heads",
                        absl::StrCat("is ", dims.kv_heads, "; a divisor of heads = ", dims.heads, " is allowed"));
  }
  absl::Status split = weights.has(Role::kQkv) ? SplitQkv(request, weights, dims) : SplitSeparate(weights, dims);
  if (!split.ok()) return split;
  if (request.value_dim.has_value() && *request.value_dim != dims.value_dim) {
    return Disagrees("value_dim", *request.value_dim, "that of the weights", dims.value_dim);
  }
  if (weights.has(Role::kOutput) && weights.in(Role::kOutput) != dims.heads * dims.value_dim) {
    return InvalidField("heads", absl::StrCat("is ", dims.heads, ": heads * value_dim is ", dims.heads * dims.value_dim,
                                              ", but w_output takes ", weights.in(Role::kOutput)));
  }
  for (const auto& [name, dim] : {std::pair{"head_dim", dims.head_dim}, std::pair{"value_dim", dims.value_dim}}) {
    if (dim > limits.max_head_dim) {
      return InvalidField("heads", absl::StrCat("is ", dims.heads, ", which makes ", name, " ", dim, "; the limit is ",
                                                limits.max_head_dim));
    }
  }
  // Vectors that go with the heads.
  const std::tuple<Role, int64_t> vectors[] = {{Role::kQueryNorm, dims.head_dim},
                                               {Role::kKeyNorm, dims.head_dim},
                                               {Role::kExtraKey, dims.kv_heads * dims.head_dim},
                                               {Role::kExtraValue, dims.kv_heads * dims.value_dim}};
  for (const auto& [role, wanted] : vectors) {
    if (!weights.has(role) || weights.extents[role][0] == wanted) continue;
    return InvalidField("heads",
                        absl::StrCat("is ", dims.heads, ", kv_heads ", dims.kv_heads, ": ", InfoOf(role).name, " has ",
                                     weights.extents[role][0], " elements where ", wanted, " are needed"));
  }
  return dims;
}

void PlanProjections(const WeightShapes& weights, const HeadDims& dims, MultiHeadPlan& plan) {
  const int64_t columns[] = {dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim, dims.kv_heads * dims.value_dim};
  constexpr Role kMatrices[] = {Role::kQuery, Role::kKey, Role::kValue};
  constexpr Role kBiases[] = {Role::kQueryBias, Role::kKeyBias, Role::kValueBias};
  const bool together = weights.has(Role::kQkv);
  int64_t begin = 0;
  for (int i = 0; i < 3; ++i) {
    ProjectionPlan& p = plan.projections[i];
    p.weight = together ? Role::kQkv : kMatrices[i];
    p.columns = {begin, begin + columns[i]};
    p.bias = together ? Role::kQkvBias : kBiases[i];
    if (weights.has(p.bias)) p.bias_begin = begin;
    if (together) begin += columns[i];
  }
}

// What the embeddings' shapes say.
struct TokenDims {
  int64_t batch = 1;
  int64_t len = 0;
  int64_t width = 0;
};

absl::StatusOr<TokenDims> EmbeddingDims(std::string_view name, const TensorView& tensor,
                                        const MultiHeadRequest& request, int64_t width) {
  if (absl::Status s = CheckTensor(name, tensor, TensorUse::kNumbers); !s.ok()) return s;
  const auto& shape = tensor.shape;
  const bool packed = request.layout == Layout::kPacked;
  if (shape.size() != request.query.shape.size() || shape.size() < 2 || shape.size() > (packed ? 2 : 3)) {
    return InvalidField(FieldPath(name, "shape"),
                        absl::StrCat("is ", ShapeString(shape), "; ",
                                     packed            ? "[total_len, width] is allowed in PACKED"
                                     : name == "query" ? "[batch, len, width] or [len, width] is allowed"
                                     : request.query.shape.size() == 2 ? "[len, width] is allowed, as query's"
                                                                       : "[batch, len, width] is allowed, as query's"));
  }
  if (shape.back() != width) {
    return InvalidField(FieldPath(name, "shape"), absl::StrCat("is ", ShapeString(shape), ": the width is ",
                                                               shape.back(), ", but the weights take ", width));
  }
  return TokenDims{shape.size() == 3 ? shape[0] : 1, shape[shape.size() - 2], width};
}

absl::Status PlanEmbeddings(const MultiHeadRequest& request, const WeightShapes& weights, TokenDims (&dims)[3],
                            MultiHeadPlan& plan) {
  const TensorView* tensors[] = {&request.query, request.key ? &*request.key : nullptr,
                                 request.value ? &*request.value : nullptr};
  for (int i = 0; i < 3; ++i) {
    EmbeddingPlan& e = plan.embeddings[i];
    const int64_t width = weights.in(plan.projections[i].weight);
    e.tensor = tensors[i] != nullptr ? i : plan.embeddings[i - 1].tensor;
    e.same_as = e.tensor;
    const TensorView& tensor = *tensors[e.tensor];
    if (e.tensor != i && tensor.shape.back() != width) {
      return InvalidField(kNames[i], absl::StrCat("is not given, and ", kNames[e.tensor], " has width ",
                                                  tensor.shape.back(), " where the weights take ", width));
    }
    const auto read = EmbeddingDims(kNames[e.tensor], tensor, request, width);
    if (!read.ok()) return read.status();
    dims[i] = *read;
    if (dims[i].batch != dims[0].batch) {
      return InvalidField(FieldPath(kNames[i], "shape"),
                          absl::StrCat("is ", ShapeString(tensor.shape), ": batch is ", dims[i].batch,
                                       ", but query has ", dims[0].batch));
    }
    e.dtype = tensor.dtype;
    e.width = width;
    const int64_t rows[] = {dims[i].batch, dims[i].len};
    e.rows = Product(rows).value_or(0);
  }
  if (dims[2].len != dims[1].len) {
    return InvalidField(
        "value.shape",
        absl::StrCat("is ", ShapeString(tensors[plan.embeddings[2].tensor]->shape), ": kv_len is ", dims[2].len,
                     ", but ", request.key ? "key" : "query, which is the key,", " has ", dims[1].len));
  }
  return absl::OkStatus();
}

TensorView Unfilled(std::vector<int64_t> shape) { return {DataType::kFloat32, std::move(shape), {}}; }

absl::Status PlanPositions(const MultiHeadRequest& request, const WeightShapes& weights, MultiHeadPlan& plan) {
  plan.position_encoding = request.position_encoding;
  if (plan.position_encoding == PositionEncoding::kNone) return absl::OkStatus();
  const AttentionPlan& attention = plan.attention;
  const auto spans = {std::tuple{&attention.queries, &attention.q_position, &attention.q_used, "query"},
                      std::tuple{&attention.keys, &attention.k_position, &attention.visibility.kv_end, "key"}};
  bool lengths_differ = attention.dims.q_len != attention.dims.kv_len;
  const bool packed = attention.layout == Layout::kPacked;
  for (int64_t b = 0; b < attention.dims.batch && packed; ++b) {
    lengths_differ = lengths_differ || attention.queries.count[b] != attention.keys.count[b];
  }
  if (lengths_differ && request.options.alignment == Alignment::kUnset) {
    return InvalidField("options.alignment",
                        "is not set, but position_encoding is and q_len differs from kv_len; say TOP_LEFT, "
                        "BOTTOM_RIGHT or OFFSET");
  }
  // Entries that are alike are not counted: there may be 2^62 of them, of no tokens.
  const bool alike = !(packed && lengths_differ) && attention.q_position.uniform() && attention.k_position.uniform();
  for (int64_t b = 0; b < (alike ? std::min<int64_t>(1, attention.dims.batch) : attention.dims.batch); ++b) {
    // Entries of other lengths begin elsewhere in a packed tensor.
    const bool same_length = !packed || attention.queries.count[b] == attention.keys.count[b];
    if (attention.q_position[b] == attention.k_position[b] && same_length) continue;
    // Keys that are the queries, but at other positions.
    if (request.block && request.block->placement == NormPlacement::kPre && plan.embeddings[1].tensor == 0) {
      return InvalidField("position_encoding",
                          "is set, and the keys of a PRE block are the queries at other positions; send key");
    }
    for (int i : {1, 2}) plan.embeddings[i].same_as = std::max(plan.embeddings[i].same_as, 1);
    break;
  }
  if (plan.position_encoding == PositionEncoding::kSinusoidal) return absl::OkStatus();
  if (!weights.has(Role::kPositionTable)) {
    return InvalidField("position_encoding", "is LEARNED, but the weights have no position_table");
  }
  const auto& table = weights.extents[Role::kPositionTable];
  for (int i = 0; i < 3; ++i) {
    if (plan.embeddings[i].width == table[1]) continue;
    return InvalidField("position_encoding",
                        absl::StrCat("is LEARNED, but ", kNames[i], " has width ", plan.embeddings[i].width,
                                     " and position_table ", ShapeString(table)));
  }
  for (const auto& [tokens, first, used, name] : spans) {
    const bool same = first->uniform() && used->uniform();
    for (int64_t b = 0; b < (same ? std::min<int64_t>(1, attention.dims.batch) : attention.dims.batch); ++b) {
      const int64_t end = (*first)[b] + (*used)[b];
      if ((*used)[b] == 0 || ((*first)[b] >= 0 && end <= table[0])) continue;
      return InvalidField("position_encoding",
                          absl::StrCat("is LEARNED, and the ", name, " of entry ", b, " has positions ", (*first)[b],
                                       " to ", end - 1, "; position_table has 0 to ", table[0] - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEpsilon(std::string_view field, float epsilon) {
  if (epsilon >= 0 && std::isfinite(epsilon)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", epsilon, "; finite numbers >= 0 are allowed"));
}

absl::Status PlanBlock(const TransformerBlock& asked, const WeightShapes& weights, MultiHeadPlan& plan) {
  BlockPlan block;
  if (asked.placement == NormPlacement::kUnset) {
    return InvalidField("block.norm_placement", "is not set; say PRE or POST");
  }
  if (asked.norm == NormKind::kUnset) return InvalidField("block.norm", "is not set; say LAYER_NORM or RMS_NORM");
  if (!weights.has(Role::kAttentionNormScale)) {
    return InvalidField("block", "is given, but the weights have no block.attention_norm_scale");
  }
  block.placement = asked.placement;
  block.norm = asked.norm;
  block.activation = asked.activation;
  block.norm_epsilon = asked.norm_epsilon.value_or(1e-5F);
  if (absl::Status s = CheckEpsilon("block.norm_epsilon", block.norm_epsilon); !s.ok()) return s;
  const bool shifted = weights.has(Role::kAttentionNormShift) || weights.has(Role::kFfnNormShift);
  if (block.norm == NormKind::kRmsNorm && shifted) {
    return InvalidField("block.norm",
                        "is RMS_NORM, but the weights have a shift of a norm, which only LAYER_NORM uses");
  }
  block.has_ffn = weights.has(Role::kUp);
  if (block.has_ffn) {
    block.ffn_dim = weights.out(Role::kUp);
    if (block.activation == Activation::kUnset) {
      return InvalidField("block.activation", "is not set; say GELU, GELU_TANH, RELU or SWIGLU");
    }
    if ((block.activation == Activation::kSwiglu) != weights.has(Role::kGate)) {
      return InvalidField("block.activation", weights.has(Role::kGate)
                                                  ? "is not SWIGLU, but the weights have block.w_gate"
                                                  : "is SWIGLU, but the weights have no block.w_gate");
    }
  } else if (block.activation != Activation::kUnset) {
    return InvalidField("block.activation", "is set, but the weights have no block.w_up");
  }
  const int64_t model_dim = plan.embeddings[0].width;
  if (plan.output_width != model_dim) {
    return InvalidField("block", absl::StrCat("is given, but attention's output has width ", plan.output_width,
                                              " and the query ", model_dim, ", which are added"));
  }
  plan.block = block;
  return absl::OkStatus();
}

absl::Status PlanOutput(const MultiHeadRequest& request, const AttentionLimits& limits, MultiHeadPlan& plan) {
  plan.output_dtype = plan.attention.output_dtype;
  plan.attention.output_dtype = DataType::kFloat32;
  plan.output_shape = request.query.shape;
  plan.output_shape.back() = plan.output_width;
  const auto bytes = TensorBytes(plan.output_dtype, plan.output_shape);
  // The attention's output has been counted in the place of this one.
  const int64_t counted = plan.attention.rows * plan.attention.dims.value_dim * ElementBytes(plan.output_dtype);
  int64_t explained = 0;
  if (request.explain) {
    const AttentionPlan& a = plan.attention;
    const auto floats =
        static_cast<double>(a.total_queries) *
            static_cast<double>(a.dims.heads * (a.dims.head_dim + a.dims.value_dim) + 2 * plan.output_width) +
        static_cast<double>(a.total_keys) * static_cast<double>(a.dims.kv_heads * (a.dims.head_dim + a.dims.value_dim));
    explained = static_cast<int64_t>(std::min(floats * sizeof(float), 9e18));
  }
  const int64_t left = limits.max_output_bytes - (plan.attention.output_bytes - counted);
  if (!bytes.has_value() || *bytes > left || explained > left - *bytes) {
    return InvalidField(request.explain ? "outputs.explain" : "query.shape",
                        absl::StrCat("the results would pass the limit of ", limits.max_output_bytes, " bytes"));
  }
  plan.attention.output_bytes += *bytes - counted + explained;
  return absl::OkStatus();
}

void PlanCost(const WeightShapes& weights, MultiHeadPlan& plan) {
  const auto product = [](int64_t rows, int64_t in, int64_t out) {
    return 2 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
  };
  int64_t floats = 0;
  for (int i = 0; i < 3; ++i) {
    const EmbeddingPlan& e = plan.embeddings[i];
    plan.linear_flops += product(e.rows, e.width, plan.projections[i].columns.size());
    floats += e.rows * ((e.same_as == i ? e.width : 0) + plan.projections[i].columns.size());
  }
  const int64_t rows = plan.embeddings[0].rows;
  floats += rows * (plan.context_width + plan.output_width);
  if (plan.has_output_projection) plan.linear_flops += product(rows, plan.context_width, plan.output_width);
  if (plan.block) {
    const int64_t matrices = weights.has(Role::kGate) ? 3 : 2;
    plan.linear_flops += static_cast<double>(matrices) * product(rows, plan.output_width, plan.block->ffn_dim);
    floats += rows * (2 * plan.output_width + (matrices - 1) * plan.block->ffn_dim);
  }
  if (plan.has_extra_key) floats += 3 * plan.attention.rows;
  if (plan.explain) floats += rows * plan.output_width;
  plan.bytes = floats * static_cast<int64_t>(sizeof(float));
}

}  // namespace

AttentionRequest ProjectedRequest(const MultiHeadRequest& request, const MultiHeadPlan& plan) {
  const Dims& dims = plan.attention.dims;
  AttentionRequest projected;
  projected.layout = request.layout;
  projected.options = request.options;
  projected.outputs = request.outputs;
  // What is explained lies around the attention.
  projected.outputs.explain = false;
  projected.outputs.dtype = request.outputs.dtype.value_or(request.query.dtype);
  const auto shape = [&](const TensorView& tensor, int64_t heads, int64_t dim) {
    const auto& s = tensor.shape;
    const int64_t len = s[s.size() - 2];
    if (request.layout == Layout::kPacked) return Unfilled({len, heads, dim});
    return Unfilled({s.size() == 3 ? s[0] : 1, len, heads * dim});
  };
  const TensorView& key = request.key ? *request.key : request.query;
  projected.query = shape(request.query, dims.heads, dims.head_dim);
  projected.key = shape(key, dims.kv_heads, dims.head_dim);
  projected.value = shape(key, dims.kv_heads, dims.value_dim);
  projected.heads = dims.heads;
  projected.kv_heads = dims.kv_heads;
  projected.owner = request.owner;
  return projected;
}

absl::StatusOr<MultiHeadPlan> PlanMultiHead(const MultiHeadRequest& request, const WeightShapes& weights,
                                            const AttentionLimits& limits) {
  if (request.layout == Layout::kHeadsFirst) {
    return InvalidField("layout", "is HEADS_FIRST; TOKENS_FIRST or PACKED is allowed for embeddings");
  }
  const auto heads = PlanHeads(request, weights, limits);
  if (!heads.ok()) return heads.status();
  MultiHeadPlan plan;
  PlanProjections(weights, *heads, plan);
  TokenDims tokens[3];
  if (absl::Status s = PlanEmbeddings(request, weights, tokens, plan); !s.ok()) return s;
  Dims& dims = plan.attention.dims;
  dims = {tokens[0].batch, heads->heads,    heads->kv_heads, tokens[0].len,
          tokens[1].len,   heads->head_dim, heads->value_dim};
  plan.context_width = dims.heads * dims.value_dim;
  plan.has_output_projection = weights.has(Role::kOutput);
  plan.output_width = plan.has_output_projection ? weights.out(Role::kOutput) : plan.context_width;

  const AttentionRequest projected = ProjectedRequest(request, plan);
  for (const auto& [name, tensor] : {std::pair{"query.shape", &projected.query}, std::pair{"key.shape", &projected.key},
                                     std::pair{"value.shape", &projected.value}}) {
    if (!TensorBytes(DataType::kFloat32, tensor->shape).has_value()) {
      return InvalidField(
          name, absl::StrCat("projected it would be ", ShapeString(tensor->shape), ": more bytes than 2^63 - 1"));
    }
  }
  auto attention = PlanProjected(projected, limits);
  if (!attention.ok()) return attention.status();
  plan.attention = *std::move(attention);

  plan.explain = request.explain;
  plan.has_query_norm = weights.has(Role::kQueryNorm);
  plan.has_key_norm = weights.has(Role::kKeyNorm);
  plan.norm_epsilon = request.norm_epsilon.value_or(1e-6F);
  if (absl::Status s = CheckEpsilon("norm_epsilon", plan.norm_epsilon); !s.ok()) return s;
  plan.add_zero_attn = request.add_zero_attn;
  plan.has_extra_key = weights.has(Role::kExtraKey);
  plan.attention.keeps_sums = plan.has_extra_key;
  if (plan.add_zero_attn) plan.attention.has_sinks = true;
  if (absl::Status s = PlanPositions(request, weights, plan); !s.ok()) return s;
  if (request.block.has_value()) {
    if (absl::Status s = PlanBlock(*request.block, weights, plan); !s.ok()) return s;
  }
  if (absl::Status s = PlanOutput(request, limits, plan); !s.ok()) return s;
  PlanCost(weights, plan);
  return plan;
}

}  // namespace attnd
