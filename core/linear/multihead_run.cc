#include "core/linear/multihead_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "core/linear/embeddings.h"

namespace attnd {
namespace {

// log(exp(sink) + 1): a sink and a key with score 0 together.
float WithZeroKey(float sink) { return std::max(sink, 0.0F) + std::log1p(std::exp(-std::abs(sink))); }

bool SameBlock(const std::optional<BlockPlan>& a, const std::optional<BlockPlan>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a.has_value() || (a->placement == b->placement && a->norm == b->norm && a->activation == b->activation &&
                            a->norm_epsilon == b->norm_epsilon);
}

}  // namespace

int64_t BytesOf(const MultiHeadResult& result) {
  int64_t bytes = BytesOf(result.attention);
  for (const NamedResult& named : result.explain) bytes += static_cast<int64_t>(named.tensor.data.size());
  return bytes;
}

bool CanShare(const MultiHeadPlan& a, const MultiHeadPlan& b) {
  const Dims& x = a.attention.dims;
  const Dims& y = b.attention.dims;
  for (int i = 0; i < 3; ++i) {
    if (a.embeddings[i].same_as != b.embeddings[i].same_as) return false;
  }
  return a.position_encoding == b.position_encoding && x.heads == y.heads && x.kv_heads == y.kv_heads &&
         x.head_dim == y.head_dim && x.value_dim == y.value_dim && a.norm_epsilon == b.norm_epsilon &&
         SameBlock(a.block, b.block) && !a.explain && !b.explain;
}

MultiHeadRun::MultiHeadRun(std::vector<PlannedMultiHead> requests, std::shared_ptr<const PackedWeights> weights,
                           EngineKind engine, BufferPool* pool)
    : weights_(std::move(weights)), engine_(engine), pool_(pool) {
  for (PlannedMultiHead& planned : requests) {
    auto member = std::make_unique<Member>();
    member->request = std::move(planned.request);
    member->plan = std::move(planned.plan);
    for (int i = 0; i < 3; ++i) {
      member->first_row[i] = rows_[i];
      rows_[i] += member->plan.embeddings[i].rows;
    }
    members_.push_back(std::move(member));
  }
}

const MultiHeadPlan& MultiHeadRun::plan() const { return members_.front()->plan; }

absl::StatusOr<float*> MultiHeadRun::Floats(int64_t count) {
  auto block = pool_->Allocate(static_cast<size_t>(count) * sizeof(float));
  if (!block.ok()) return block.status();
  memory_.push_back(*std::move(block));
  return memory_.back().floats();
}

absl::Status MultiHeadRun::AllocateRows() {
  const MultiHeadPlan& p = plan();
  struct Wanted {
    float** to;
    int64_t rows;
    int64_t width;
  };
  std::vector<Wanted> wanted;
  for (int i = 0; i < 3; ++i) {
    if (p.embeddings[i].same_as == i) wanted.push_back({&embeddings_[i], rows_[i], p.embeddings[i].width});
    wanted.push_back({&projected_[i], rows_[i], p.projections[i].columns.size()});
  }
  wanted.push_back({&context_, rows(), p.context_width});
  if (p.explain) wanted.push_back({&attention_, rows(), p.output_width});
  if (p.block) {
    wanted.push_back({&hidden_, rows(), p.output_width});
    if (p.block->placement == NormPlacement::kPre) wanted.push_back({&normed_, rows(), p.output_width});
    if (p.block->has_ffn) wanted.push_back({&up_, rows(), p.block->ffn_dim});
    if (p.block->activation == Activation::kSwiglu) wanted.push_back({&gate_, rows(), p.block->ffn_dim});
  }
  if (!WritesInPlace()) wanted.push_back({&output_, rows(), p.output_width});
  for (const Wanted& w : wanted) {
    const auto floats = Floats(w.rows * w.width);
    if (!floats.ok()) return floats.status();
    *w.to = *floats;
  }
  return absl::OkStatus();
}

absl::Status MultiHeadRun::Begin() {
  if (absl::Status s = AllocateRows(); !s.ok()) return s;
  for (const auto& member : members_) {
    if (absl::Status s = BeginMember(*member); !s.ok()) return s;
  }
  AddStages();
  return absl::OkStatus();
}

bool MultiHeadRun::WritesInPlace() const {
  const AttentionPlan& attention = plan().attention;
  const bool all_rows = attention.layout == Layout::kPacked ||
                        (attention.q_used.uniform() && attention.q_used[0] == attention.dims.q_len);
  return members_.size() == 1 && all_rows && plan().output_dtype == DataType::kFloat32;
}

absl::Status MultiHeadRun::BeginOutput(Member& member) {
  const MultiHeadPlan& p = member.plan;
  const auto allocate = [&](DataType dtype, std::vector<int64_t> shape, ResultTensor& tensor) {
    auto block = pool_->Allocate(static_cast<size_t>(TensorBytes(dtype, shape).value_or(0)));
    if (!block.ok()) return block.status();
    tensor = {dtype, std::move(shape), *std::move(block)};
    return absl::OkStatus();
  };
  if (absl::Status s = allocate(p.output_dtype, p.output_shape, member.output); !s.ok()) return s;
  if (WritesInPlace()) output_ = member.output.data.floats();
  if (!p.explain) return absl::OkStatus();
  const Dims& dims = p.attention.dims;
  const bool packed = p.attention.layout == Layout::kPacked;
  const auto heads_first = [&](int64_t rows, int64_t heads, int64_t len, int64_t dim) {
    return packed ? std::vector<int64_t>{rows, heads, dim} : std::vector<int64_t>{dims.batch, heads, len, dim};
  };
  const auto of_width = [&](int64_t width) {
    std::vector<int64_t> shape = p.output_shape;
    shape.back() = width;
    return shape;
  };
  std::vector<std::pair<std::string, std::vector<int64_t>>> wanted = {
      {"query", heads_first(p.embeddings[0].rows, dims.heads, dims.q_len, dims.head_dim)},
      {"key", heads_first(p.embeddings[1].rows, dims.kv_heads, dims.kv_len, dims.head_dim)},
      {"value", heads_first(p.embeddings[2].rows, dims.kv_heads, dims.kv_len, dims.value_dim)},
      {"context", of_width(p.context_width)}};
  if (p.has_output_projection) wanted.emplace_back("attention", of_width(p.output_width));
  if (p.block) {
    wanted.emplace_back(p.block->placement == NormPlacement::kPre ? "residual" : "attention_norm",
                        of_width(p.output_width));
  }
  for (auto& [name, shape] : wanted) {
    NamedResult& named = member.explain.emplace_back();
    named.name = name;
    if (absl::Status s = allocate(DataType::kFloat32, std::move(shape), named.tensor); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status MultiHeadRun::BeginMember(Member& member) {
  const MultiHeadPlan& p = member.plan;
  const MultiHeadRequest& request = member.request;
  const TensorView* tensors[] = {&request.query, request.key ? &*request.key : nullptr,
                                 request.value ? &*request.value : nullptr};
  for (int i = 0; i < 3; ++i) {
    if (embeddings_[i] == nullptr) continue;
    float* to = embeddings_[i] + member.first_row[i] * p.embeddings[i].width;
    if (absl::Status s = CopyEmbeddings(*tensors[p.embeddings[i].tensor], pool_, to); !s.ok()) return s;
  }
  if (absl::Status s = BeginOutput(member); !s.ok()) return s;

  AttentionRequest projected = ProjectedRequest(request, p);
  std::vector<float> sinks;
  if (p.add_zero_attn) {
    sinks.assign(static_cast<size_t>(p.attention.dims.heads), 0);
    if (projected.options.sinks) {
      if (absl::Status s = CopyEmbeddings(*projected.options.sinks, pool_, sinks.data()); !s.ok()) return s;
      for (float& sink : sinks) sink = WithZeroKey(sink);
    }
    projected.options.sinks = TensorView{
        DataType::kFloat32, {p.attention.dims.heads}, Fragments(std::as_bytes(std::span<const float>(sinks)))};
  }
  if (p.has_extra_key) {
    const auto scores = Floats(p.attention.rows);
    if (!scores.ok()) return scores.status();
    member.extra_scores = *scores;
  }
  const auto at = [&](float* base, int i, int64_t width) {
    return reinterpret_cast<std::byte*>(base + member.first_row[i] * width);
  };
  ProjectedTensors projected_tensors;
  projected_tensors.query = at(projected_[0], 0, p.projections[0].columns.size());
  projected_tensors.key = at(projected_[1], 1, p.projections[1].columns.size());
  projected_tensors.value = at(projected_[2], 2, p.projections[2].columns.size());
  projected_tensors.output = at(context_, 0, p.context_width);
  projected_tensors.row_sinks = member.extra_scores;
  member.attention.emplace(AttentionPlan(p.attention), engine_, pool_);
  const auto claims = member.attention->BeginProjected(projected, projected_tensors);
  if (!claims.ok()) return claims.status();
  member.claims = *claims;
  member.request = MultiHeadRequest();
  return absl::OkStatus();
}

MultiHeadResult MultiHeadRun::TakeResult(size_t i) {
  Member& member = *members_[i];
  MultiHeadResult result;
  result.attention = member.attention->TakeResult();
  result.attention.output = std::move(member.output);
  result.attention.flops += member.plan.linear_flops;
  result.explain = std::move(member.explain);
  return result;
}

}  // namespace attnd
