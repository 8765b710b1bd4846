#include "core/attention/plan.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/explain.h"
#include "core/attention/layout.h"
#include "core/attention/plan_options.h"
#include "core/attention/summaries.h"
#include "core/attention/tensor_checks.h"
#include "core/errors.h"

namespace attnd {
namespace {

// Sequences of a packed request: bounds what planning takes.
constexpr size_t kMaxSequences = size_t{1} << 18;
// Bytes that an element of a list takes, in the request, the plan and the job together.
constexpr size_t kBytesPerListElement = 64;

absl::Status CheckAgreement(const AttentionRequest& request, const TensorDims& query, const TensorDims& key,
                            const TensorDims& value) {
  const auto differs = [&](std::string_view name, const TensorView& tensor, std::string_view what, int64_t is,
                           std::string_view other, int64_t wanted) {
    return InvalidField(FieldPath(name, "shape"),
                        absl::StrCat("is ", ShapeString(tensor.shape), ": ", std::string(what), " is ", is, ", but ",
                                     std::string(other), " has ", wanted));
  };
  if (request.query.shape.size() != request.key.shape.size()) {
    return InvalidField("key.shape", absl::StrCat("is ", ShapeString(request.key.shape), ", but query is ",
                                                  ShapeString(request.query.shape), "; ranks must agree"));
  }
  if (request.query.shape.size() != request.value.shape.size()) {
    return InvalidField("value.shape", absl::StrCat("is ", ShapeString(request.value.shape), ", but query is ",
                                                    ShapeString(request.query.shape), "; ranks must agree"));
  }
  if (key.batch != query.batch) return differs("key", request.key, "batch", key.batch, "query", query.batch);
  if (value.batch != query.batch) return differs("value", request.value, "batch", value.batch, "query", query.batch);
  if (key.dim != query.dim) return differs("key", request.key, "head_dim", key.dim, "query", query.dim);
  if (value.heads != key.heads) return differs("value", request.value, "kv_heads", value.heads, "key", key.heads);
  if (value.len != key.len) return differs("value", request.value, "kv_len", value.len, "key", key.len);
  if (query.heads % key.heads != 0) {
    return InvalidField("key.shape", absl::StrCat("is ", ShapeString(request.key.shape), ": query's ", query.heads,
                                                  " heads are no multiple of its ", key.heads));
  }
  return absl::OkStatus();
}

// The sequences of a packed tensor: `lengths` must add up to its length.
absl::StatusOr<TokenSpans> PackedSpans(std::string_view field, const std::vector<int64_t>& lengths,
                                       std::string_view tensor, int64_t total) {
  if (lengths.empty() && total > 0) return InvalidField(field, "is required in the layout PACKED");
  TokenSpans spans{PerEntry(lengths), {0}};
  for (const int64_t length : lengths) {
    if (length < 0) return InvalidField(field, absl::StrCat("has ", length, "; at least 0 is allowed"));
    int64_t end = 0;
    if (__builtin_add_overflow(spans.starts.back(), length, &end)) end = std::numeric_limits<int64_t>::max();
    spans.starts.push_back(end);
  }
  if (spans.starts.back() != total) {
    return InvalidField(field, absl::StrCat("adds up to ", spans.starts.back(), ", but ", std::string(tensor), " has ",
                                            total, " tokens"));
  }
  return spans;
}

absl::Status PlanTokens(const AttentionOptions& options, int64_t q_len, int64_t kv_len, AttentionPlan& plan) {
  if (plan.layout != Layout::kPacked) {
    plan.queries.count = q_len;
    plan.keys.count = kv_len;
    // Nothing passes the bytes of query or key, unless there are none.
    for (const auto& [len, total] : {std::pair{q_len, &plan.total_queries}, std::pair{kv_len, &plan.total_keys}}) {
      const int64_t extents[] = {plan.dims.batch, len};
      *total = Product(extents).value_or(0);
    }
    return absl::OkStatus();
  }
  if (options.q_lengths.size() != options.kv_lengths.size()) {
    return InvalidField("options.kv_lengths", absl::StrCat("has ", options.kv_lengths.size(), " elements, q_lengths ",
                                                           options.q_lengths.size(),
                                                           "; in the layout PACKED both have "
                                                           "one per sequence"));
  }
  if (options.q_lengths.size() > kMaxSequences) {
    return InvalidField("options.q_lengths", absl::StrCat("has ", options.q_lengths.size(), " elements; at most ",
                                                          kMaxSequences, " sequences are allowed"));
  }
  auto queries = PackedSpans("options.q_lengths", options.q_lengths, "query", q_len);
  if (!queries.ok()) return queries.status();
  auto keys = PackedSpans("options.kv_lengths", options.kv_lengths, "key", kv_len);
  if (!keys.ok()) return keys.status();
  plan.queries = *std::move(queries);
  plan.keys = *std::move(keys);
  plan.total_queries = q_len;
  plan.total_keys = kv_len;
  const auto longest = [](const std::vector<int64_t>& lengths) {
    return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  };
  plan.dims.batch = static_cast<int64_t>(options.q_lengths.size());
  plan.dims.q_len = longest(options.q_lengths);
  plan.dims.kv_len = longest(options.kv_lengths);
  return absl::OkStatus();
}

// Tensors beside query, key and value.
int64_t OptionBytes(const AttentionOptions& options) {
  size_t bytes = 0;
  for (const Mask& mask : options.masks) bytes += mask.tensor.bytes.size();
  for (const TensorView& bias : options.biases) bytes += bias.bytes.size();
  for (const auto* tensor : {&options.alibi_slopes, &options.sinks}) {
    if (tensor->has_value()) bytes += (*tensor)->bytes.size();
  }
  return static_cast<int64_t>(bytes);
}

// Elements of all lists.
size_t ListElements(const AttentionOptions& options, const AttentionOutputs& outputs) {
  size_t elements = outputs.weights ? outputs.weights->rows.size() : 0;
  if (outputs.top_k) elements += outputs.top_k->rows.size();
  for (const auto* list : {&options.q_offset, &options.k_offset, &options.q_lengths, &options.kv_lengths,
                           &options.kv_starts, &options.prefix_lengths}) {
    elements += list->size();
  }
  if (options.documents) elements += options.documents->query_ids.size() + options.documents->key_ids.size();
  if (options.rope) elements += options.rope->query_positions.size() + options.rope->key_positions.size();
  return elements;
}

// Takes the bytes of a result off what is left of the limit.
absl::Status AddResult(std::string_view field, std::string_view what, std::initializer_list<int64_t> extents,
                       DataType dtype, const AttentionLimits& limits, AttentionPlan& plan) {
  const auto bytes = TensorBytes(dtype, std::span(extents.begin(), extents.size()));
  if (!bytes.has_value() || *bytes > limits.max_output_bytes - plan.output_bytes) {
    return InvalidField(field, absl::StrCat(std::string(what), " would pass the limit of ", limits.max_output_bytes,
                                            " bytes for all results"));
  }
  plan.output_bytes += *bytes;
  return absl::OkStatus();
}

// Of top-k, diagnostics and heatmap: in floats, what they take while they are made included.
absl::Status PlanSummarySizes(const AttentionLimits& limits, AttentionPlan& plan) {
  const Dims& dims = plan.dims;
  const auto add = [&](std::string_view field, std::string_view what, std::initializer_list<int64_t> extents) {
    return AddResult(field, what, extents, DataType::kFloat32, limits, plan);
  };
  // A weight and a key: eight bytes here, and up to ten in a message.
  constexpr int64_t kFloatsPerPlace = 6;
  if (plan.top_k.has_value()) {
    const std::string text = absl::StrCat("top_k of shape ", ShapeString(plan.top_k->shape));
    const int64_t entries = plan.layout == Layout::kPacked ? 1 : dims.batch;
    absl::Status s =
        add("outputs.top_k", text, {entries, dims.heads, plan.top_k->rows, plan.top_k->k, kFloatsPerPlace});
    if (!s.ok()) return s;
  }
  if (plan.diagnostics.has_value()) {
    constexpr std::string_view kField = "outputs.diagnostics";
    const int64_t per_head = static_cast<int64_t>(kStatistics) + 4 + plan.diagnostics->columns * kFloatsPerPlace;
    if (absl::Status s = add(kField, "diagnostics", {dims.batch, dims.heads, per_head}); !s.ok()) return s;
    if (absl::Status s = add(kField, "diagnostics of rows", {plan.total_queries, dims.heads, kRowFigures}); !s.ok()) {
      return s;
    }
    if (absl::Status s = add(kField, "diagnostics of keys", {plan.total_keys, dims.heads, 2}); !s.ok()) return s;
  }
  if (!plan.heatmap.has_value()) return absl::OkStatus();
  constexpr int64_t kFloatsPerCell = 2 + sizeof(HeatCell) / sizeof(float);
  const std::string text = absl::StrCat("heatmap of shape ", ShapeString(plan.heatmap->shape));
  return add("outputs.heatmap", text, {plan.heatmap->cells, kFloatsPerCell});
}

absl::Status AddExplained(bool has_softcap, const AttentionLimits& limits, AttentionPlan& plan) {
  const Dims& dims = plan.dims;
  // What is visible, and the weights, have the shape of scores.
  const int64_t pair_tensors = ExplainedStages(has_softcap) + 2;
  const int64_t sizes[][3] = {{plan.total_queries, dims.heads, dims.head_dim},
                              {plan.total_keys, dims.kv_heads, dims.head_dim},
                              {plan.total_keys, dims.kv_heads, dims.value_dim},
                              {pair_tensors, 1, plan.explain->elements},
                              {plan.total_queries, dims.heads, dims.value_dim}};
  for (const auto& [tokens, heads, dim] : sizes) {
    absl::Status s =
        AddResult("outputs.explain", "what is explained", {tokens, heads, dim}, DataType::kFloat32, limits, plan);
    if (!s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status PlanSizes(const AttentionRequest& request, const AttentionLimits& limits, AttentionPlan& plan) {
  const Dims& dims = plan.dims;
  if (absl::Status s = AddResult("query.shape", "the output", {plan.total_queries, dims.heads, dims.value_dim},
                                 plan.output_dtype, limits, plan);
      !s.ok()) {
    return s;
  }
  if (plan.wants_lse) {
    if (absl::Status s = AddResult("outputs.lse", "output and lse", {plan.total_queries, dims.heads},
                                   DataType::kFloat32, limits, plan);
        !s.ok()) {
      return s;
    }
  }
  for (const auto& [field, what, planned] : {std::tuple{"outputs.weights", "weights", &plan.weights},
                                             std::tuple{"outputs.scores", "scores", &plan.scores}}) {
    if (!planned->has_value()) continue;
    const std::string text = absl::StrCat(what, " of shape ", ShapeString((*planned)->shape));
    if (absl::Status s = AddResult(field, text, {(*planned)->elements}, plan.pairs_dtype, limits, plan); !s.ok()) {
      return s;
    }
  }
  if (absl::Status s = PlanSummarySizes(limits, plan); !s.ok()) return s;
  if (plan.explain) {
    if (absl::Status s = AddExplained(request.options.softcap.has_value(), limits, plan); !s.ok()) return s;
  }
  plan.input_bytes =
      static_cast<int64_t>(request.query.bytes.size() + request.key.bytes.size() + request.value.bytes.size()) +
      OptionBytes(request.options);
  plan.list_bytes = static_cast<int64_t>(ListElements(request.options, request.outputs) * kBytesPerListElement);
  // A plan of its own.
  if (plan.explain) plan.list_bytes *= 2;
  return absl::OkStatus();
}

// Only now are the products behind strides and sums known to fit.
void PlanWork(const Dims& tensor_dims, AttentionPlan& plan) {
  const Dims& dims = plan.dims;
  plan.rows = plan.total_queries * dims.heads;
  // Keys are explained even if there is no query. Where there are keys, their sizes fit.
  if (plan.rows == 0 && (!plan.explain || plan.total_keys == 0)) return;
  plan.key = StridesOf(plan.layout, dims.kv_heads, tensor_dims.kv_len, dims.head_dim);
  plan.value = StridesOf(plan.layout, dims.kv_heads, tensor_dims.kv_len, dims.value_dim);
  if (plan.rows == 0) return;
  plan.query = StridesOf(plan.layout, dims.heads, tensor_dims.q_len, dims.head_dim);
  plan.output = StridesOf(plan.layout, dims.heads, tensor_dims.q_len, dims.value_dim);
}

double PredictFlops(const AttentionPlan& plan) {
  if (plan.rows == 0) return 0;
  const Dims& dims = plan.dims;
  const Visibility& visible = plan.visibility;
  const auto flops_per_pair = static_cast<double>(2 * dims.heads * (dims.head_dim + dims.value_dim));
  const bool all_alike = plan.q_used.uniform() && visible.kv_begin.uniform() && visible.kv_end.uniform() &&
                         visible.shift.uniform() && visible.prefix.uniform() && visible.documents == nullptr;
  if (all_alike) {
    return static_cast<double>(dims.batch) * visible.Pairs(0, plan.q_used[0]) * flops_per_pair;
  }
  // The more entries, the fewer looks at each; lengths alone take one.
  constexpr int64_t kLooks = int64_t{1} << 18;
  const int64_t looks_each = std::clamp<int64_t>(kLooks / dims.batch, 4, 4096);
  double pairs = 0;
  for (int64_t b = 0; b < dims.batch; ++b) pairs += visible.Pairs(b, plan.q_used[b], looks_each);
  return pairs * flops_per_pair;
}

}  // namespace

absl::StatusOr<AttentionPlan> PlanAttention(const AttentionRequest& request, const AttentionLimits& limits) {
  for (const auto& [name, tensor] :
       {std::pair{"query", &request.query}, std::pair{"key", &request.key}, std::pair{"value", &request.value}}) {
    if (absl::Status status = CheckTensor(name, *tensor, TensorUse::kNumbers); !status.ok()) return status;
  }
  return PlanProjected(request, limits);
}

absl::StatusOr<AttentionPlan> PlanProjected(const AttentionRequest& request, const AttentionLimits& limits) {
  if (request.value.dtype != request.key.dtype) {
    return InvalidField("value.dtype", absl::StrCat("is ", DataTypeName(request.value.dtype), ", but key is ",
                                                    DataTypeName(request.key.dtype), "; they must agree"));
  }
  const auto query = DimsOf("query", request.query, request.layout, "heads", request.heads);
  if (!query.ok()) return query.status();
  const auto key = DimsOf("key", request.key, request.layout, "kv_heads", request.kv_heads);
  if (!key.ok()) return key.status();
  const auto value = DimsOf("value", request.value, request.layout, "kv_heads", request.kv_heads);
  if (!value.ok()) return value.status();
  if (absl::Status status = CheckAgreement(request, *query, *key, *value); !status.ok()) return status;

  AttentionPlan plan;
  const Dims tensors = {query->batch, query->heads, key->heads, query->len, key->len, query->dim, value->dim};
  plan.dims = tensors;
  plan.layout = request.layout;
  plan.query_dtype = request.query.dtype;
  plan.key_dtype = request.key.dtype;
  for (const auto& [field, dim] :
       {std::pair{"query.shape", tensors.head_dim}, std::pair{"value.shape", tensors.value_dim}}) {
    if (dim > limits.max_head_dim) {
      return InvalidField(field, absl::StrCat("has ", dim, " elements per head; the limit is ", limits.max_head_dim));
    }
  }
  if (absl::Status s = PlanTokens(request.options, tensors.q_len, tensors.kv_len, plan); !s.ok()) return s;
  plan.output_shape = request.query.shape;
  // The last dimension holds one head's elements, or those of all heads in the 3-D form.
  const bool joined = request.layout == Layout::kTokensFirst && request.query.shape.size() == 3;
  plan.output_shape.back() = joined ? tensors.heads * tensors.value_dim : tensors.value_dim;
  plan.lse_shape = request.layout == Layout::kPacked
                       ? std::vector<int64_t>{tensors.heads, tensors.q_len}
                       : std::vector<int64_t>{tensors.batch, tensors.heads, tensors.q_len};
  if (absl::Status s = PlanOutputs(request.outputs, plan); !s.ok()) return s;
  if (absl::Status s = PlanSizes(request, limits, plan); !s.ok()) return s;
  PlanWork(tensors, plan);
  if (absl::Status s = PlanOptions(request.options, plan); !s.ok()) return s;
  plan.flops = PredictFlops(plan);
  return plan;
}

}  // namespace attnd
