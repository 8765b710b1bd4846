#include "core/attention/plan.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace attnd {
namespace {

constexpr int64_t kMaxOffset = int64_t{1} << 60;

// What a tensor's shape says in its layout. `dim` is head_dim or value_dim.
struct TensorDims {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t len = 0;
  int64_t dim = 0;
};

// Product of non-negative factors, or nothing if it passes 2^63 - 1.
std::optional<int64_t> Product(std::span<const int64_t> factors) {
  int64_t product = 1;
  bool overflow = false;
  for (const int64_t factor : factors) {
    // A 0 makes the product 0 even if the rest would overflow.
    if (factor == 0) return 0;
    overflow = overflow || __builtin_mul_overflow(product, factor, &product);
  }
  return overflow ? std::nullopt : std::optional<int64_t>(product);
}

std::string Field(std::string_view tensor, std::string_view part) {
  return std::string(tensor) + "." + std::string(part);
}

absl::Status CheckTensor(std::string_view name, const TensorView& tensor) {
  if (tensor.dtype == DataType::kBool || tensor.dtype == DataType::kBit) {
    return InvalidField(Field(name, "dtype"), absl::StrCat("is ", DataTypeName(tensor.dtype), "; FLOAT32 is allowed"));
  }
  if (tensor.dtype != DataType::kFloat32) {
    return UnservedField(Field(name, "dtype"),
                         absl::StrCat(DataTypeName(tensor.dtype), " is not served yet; FLOAT32 is"));
  }
  for (const int64_t extent : tensor.shape) {
    if (extent < 0) {
      return InvalidField(Field(name, "shape"), absl::StrCat("is ", ShapeString(tensor.shape), "; extents are >= 0"));
    }
  }
  const auto elements = Product(tensor.shape);
  if (!elements.has_value() || *elements > std::numeric_limits<int64_t>::max() / 4) {
    return InvalidField(Field(name, "shape"),
                        absl::StrCat("is ", ShapeString(tensor.shape), ": more bytes than 2^63 - 1"));
  }
  const auto bytes = static_cast<uint64_t>(*elements) * sizeof(float);
  if (bytes != tensor.bytes.size()) {
    return InvalidField(Field(name, "data"), absl::StrCat("has ", tensor.bytes.size(), " bytes; shape ",
                                                          ShapeString(tensor.shape), " of FLOAT32 needs ", bytes));
  }
  return absl::OkStatus();
}

// Splits the last dimension of a 3-D tensor into heads.
absl::StatusOr<TensorDims> SplitHeads(std::string_view name, const TensorView& tensor, std::string_view heads_name,
                                      std::optional<int64_t> heads) {
  if (!heads.has_value()) {
    return InvalidField(heads_name, absl::StrCat("is required for a 3-D ", std::string(name), " in TOKENS_FIRST"));
  }
  if (*heads < 1) return InvalidField(heads_name, absl::StrCat("is ", *heads, "; at least 1 is allowed"));
  const auto& s = tensor.shape;
  if (s[2] % *heads != 0) {
    return InvalidField(Field(name, "shape"),
                        absl::StrCat("is ", ShapeString(s), ": its last dimension is no multiple of ",
                                     std::string(heads_name), " = ", *heads));
  }
  return TensorDims{s[0], *heads, s[1], s[2] / *heads};
}

absl::StatusOr<TensorDims> DimsOf(std::string_view name, const TensorView& tensor, Layout layout,
                                  std::string_view heads_name, std::optional<int64_t> heads) {
  const auto& s = tensor.shape;
  TensorDims dims;
  if (layout == Layout::kHeadsFirst && s.size() == 4) {
    dims = {s[0], s[1], s[2], s[3]};
  } else if (layout == Layout::kHeadsFirst && s.size() == 2) {
    dims = {1, 1, s[0], s[1]};
  } else if (layout == Layout::kTokensFirst && s.size() == 4) {
    dims = {s[0], s[2], s[1], s[3]};
  } else if (layout == Layout::kTokensFirst && s.size() == 3) {
    auto split = SplitHeads(name, tensor, heads_name, heads);
    if (!split.ok()) return split.status();
    dims = *split;
  } else {
    return InvalidField(
        Field(name, "shape"),
        absl::StrCat("is ", ShapeString(s), ", ", s.size(), "-D; ",
                     layout == Layout::kHeadsFirst
                         ? "HEADS_FIRST takes 4-D [batch, heads, len, dim] or 2-D [len, dim]"
                         : "TOKENS_FIRST takes 4-D [batch, len, heads, dim] or 3-D [batch, len, heads * dim]"));
  }
  if (heads.has_value() && *heads != dims.heads) {
    return InvalidField(heads_name, absl::StrCat("is ", *heads, ", but ", std::string(name), " has ", dims.heads));
  }
  if (dims.heads < 1 || dims.dim < 1) {
    return InvalidField(Field(name, "shape"), absl::StrCat("is ", ShapeString(s), ": heads and dim are at least 1"));
  }
  return dims;
}

Strides StridesOf(Layout layout, int64_t heads, int64_t len, int64_t dim) {
  if (layout == Layout::kHeadsFirst) return {heads * len * dim, len * dim, dim};
  return {len * heads * dim, dim, heads * dim};
}

absl::Status CheckAgreement(const AttentionRequest& request, const TensorDims& query, const TensorDims& key,
                            const TensorDims& value) {
  const auto differs = [&](std::string_view name, const TensorView& tensor, std::string_view what, int64_t is,
                           std::string_view other, int64_t wanted) {
    return InvalidField(Field(name, "shape"), absl::StrCat("is ", ShapeString(tensor.shape), ": ", std::string(what),
                                                           " is ", is, ", but ", std::string(other), " has ", wanted));
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

absl::Status CheckOffsets(std::string_view field, const std::vector<int64_t>& offsets, const AttentionOptions& options,
                          int64_t batch) {
  if (offsets.empty()) return absl::OkStatus();
  if (options.alignment != Alignment::kOffset) {
    return InvalidField(field, "is given, but options.alignment is not OFFSET");
  }
  if (offsets.size() != 1 && static_cast<int64_t>(offsets.size()) != batch) {
    return InvalidField(field, absl::StrCat("has ", offsets.size(), " elements; 1 or batch = ", batch, " are allowed"));
  }
  for (const int64_t offset : offsets) {
    if (offset > kMaxOffset || offset < -kMaxOffset) {
      return InvalidField(field, absl::StrCat("has ", offset, "; -2^60 to 2^60 is allowed"));
    }
  }
  return absl::OkStatus();
}

// q_offset - k_offset, for each batch entry or one for all.
std::vector<int64_t> ShiftOf(const AttentionOptions& options, const Dims& dims) {
  if (options.alignment == Alignment::kBottomRight) return {dims.kv_len - dims.q_len};
  if (options.alignment != Alignment::kOffset) return {0};
  const auto at = [](const std::vector<int64_t>& v, size_t i) { return v.empty() ? 0 : v[v.size() == 1 ? 0 : i]; };
  std::vector<int64_t> shift(std::max<size_t>({1, options.q_offset.size(), options.k_offset.size()}));
  for (size_t i = 0; i < shift.size(); ++i) shift[i] = at(options.q_offset, i) - at(options.k_offset, i);
  return shift;
}

absl::Status PlanOptions(const AttentionOptions& options, AttentionPlan& plan) {
  const Dims& dims = plan.dims;
  plan.scale = options.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(dims.head_dim))));
  if (!std::isfinite(plan.scale)) {
    return InvalidField("options.scale", absl::StrCat("is ", plan.scale, "; it must be finite"));
  }
  for (const auto& [field, offsets] :
       {std::pair{"options.q_offset", &options.q_offset}, std::pair{"options.k_offset", &options.k_offset}}) {
    if (absl::Status status = CheckOffsets(field, *offsets, options, dims.batch); !status.ok()) return status;
  }
  if (options.causal && options.alignment == Alignment::kUnset && dims.q_len != dims.kv_len) {
    return InvalidField("options.alignment",
                        absl::StrCat("is not set, but options.causal is and q_len = ", dims.q_len,
                                     " differs from kv_len = ", dims.kv_len, "; say TOP_LEFT, BOTTOM_RIGHT or OFFSET"));
  }
  plan.visibility = options.causal ? Visibility::Causal(dims.q_len, dims.kv_len, ShiftOf(options, dims))
                                   : Visibility(dims.q_len, dims.kv_len);
  return absl::OkStatus();
}

absl::Status PlanSizes(const AttentionRequest& request, const AttentionLimits& limits, AttentionPlan& plan) {
  const Dims& dims = plan.dims;
  const auto bytes_of = [](std::initializer_list<int64_t> shape) {
    std::vector<int64_t> factors(shape);
    factors.push_back(sizeof(float));
    return Product(factors);
  };
  const auto over_limit = [&](std::string_view field, std::string_view what) {
    return InvalidField(
        field, absl::StrCat(std::string(what), " would pass the limit of ", limits.max_output_bytes, " bytes"));
  };
  const auto output = bytes_of({dims.batch, dims.heads, dims.q_len, dims.value_dim});
  if (!output.has_value() || *output > limits.max_output_bytes) return over_limit("query.shape", "the output");
  plan.output_bytes = *output;
  if (plan.outputs.lse) {
    const auto lse = bytes_of({dims.batch, dims.heads, dims.q_len});
    if (!lse.has_value() || *lse > limits.max_output_bytes - plan.output_bytes) {
      return over_limit("outputs.lse", "output and lse");
    }
    plan.output_bytes += *lse;
  }
  if (plan.outputs.weights) {
    const auto weights = bytes_of({dims.batch, dims.heads, dims.q_len, dims.kv_len});
    if (!weights.has_value() || *weights > limits.max_output_bytes - plan.output_bytes) {
      return over_limit("outputs.weights", absl::StrCat("weights of ", dims.batch, " x ", dims.heads, " x ", dims.q_len,
                                                        " x ", dims.kv_len, " elements"));
    }
    plan.output_bytes += *weights;
  }
  plan.input_bytes =
      static_cast<int64_t>(request.query.bytes.size() + request.key.bytes.size() + request.value.bytes.size());
  if (plan.rows() == 0) return absl::OkStatus();
  // Only now are the products behind strides and sums known to fit.
  plan.query = StridesOf(request.layout, dims.heads, dims.q_len, dims.head_dim);
  plan.key = StridesOf(request.layout, dims.kv_heads, dims.kv_len, dims.head_dim);
  plan.value = StridesOf(request.layout, dims.kv_heads, dims.kv_len, dims.value_dim);
  plan.output = StridesOf(request.layout, dims.heads, dims.q_len, dims.value_dim);
  double pairs = 0;
  for (int64_t b = 0; b < dims.batch; ++b) pairs += plan.visibility.Pairs(b);
  plan.flops = 2 * pairs * static_cast<double>(dims.heads) * static_cast<double>(dims.head_dim + dims.value_dim);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AttentionPlan> PlanAttention(const AttentionRequest& request, const AttentionLimits& limits) {
  for (const auto& [name, tensor] :
       {std::pair{"query", &request.query}, std::pair{"key", &request.key}, std::pair{"value", &request.value}}) {
    if (absl::Status status = CheckTensor(name, *tensor); !status.ok()) return status;
  }
  const auto query = DimsOf("query", request.query, request.layout, "heads", request.heads);
  if (!query.ok()) return query.status();
  const auto key = DimsOf("key", request.key, request.layout, "kv_heads", request.kv_heads);
  if (!key.ok()) return key.status();
  const auto value = DimsOf("value", request.value, request.layout, "kv_heads", request.kv_heads);
  if (!value.ok()) return value.status();
  if (absl::Status status = CheckAgreement(request, *query, *key, *value); !status.ok()) return status;

  AttentionPlan plan;
  plan.dims = {query->batch, query->heads, key->heads, query->len, key->len, query->dim, value->dim};
  const Dims& dims = plan.dims;
  for (const auto& [field, dim] : {std::pair{"query.shape", dims.head_dim}, std::pair{"value.shape", dims.value_dim}}) {
    if (dim > limits.max_head_dim) {
      return InvalidField(field, absl::StrCat("has ", dim, " elements per head; the limit is ", limits.max_head_dim));
    }
  }
  plan.output_shape = request.query.shape;
  // The last dimension holds one head's elements, or those of all heads in the 3-D form.
  plan.output_shape.back() = request.query.shape.size() == 3 ? dims.heads * dims.value_dim : dims.value_dim;
  plan.outputs = request.outputs;
  if (absl::Status status = PlanOptions(request.options, plan); !status.ok()) return status;
  if (absl::Status status = PlanSizes(request, limits, plan); !status.ok()) return status;
  return plan;
}

}  // namespace attnd
