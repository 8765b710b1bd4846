// The stages of MultiHeadRun, in their order.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/attention/rope.h"
#include "core/attention/simd_rows.h"
#include "core/linear/embeddings.h"
#include "core/linear/multihead_run.h"
#include "core/linear/row_functions.h"

namespace attnd {
namespace {

using Role = WeightRole;

// Tokens of an entry that a worker takes in one go where tokens have neighbours.
constexpr int64_t kTokensPerBlock = 64;
// What going over a float costs, in floating-point operations of a product.
constexpr double kFlopsPerFloat = 32;

float Dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum = std::fma(a[i], b[i], sum);
  return sum;
}

// Rows outside q_lengths become 0, of [batch, q_len, width].
void ClearUnused(const AttentionPlan& plan, int64_t width, float* rows) {
  if (plan.layout == Layout::kPacked) return;
  const int64_t q_len = plan.dims.q_len;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    std::fill(rows + (b * q_len + plan.q_used[b]) * width, rows + (b + 1) * q_len * width, 0.0F);
  }
}

}  // namespace

void MultiHeadRun::Add(Stage stage) {
  if (stage.tiles > 0) stages_.push_back(std::move(stage));
}

void MultiHeadRun::AddRows(int64_t rows, int64_t width, std::function<void(int64_t row)> f) {
  Add(RowStage(rows, kFlopsPerFloat * static_cast<double>(width), [f = std::move(f)](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row);
    return absl::OkStatus();
  }));
}

void MultiHeadRun::AddTokens(const std::vector<int>& which, int64_t width, std::function<void(const TokenBlock&)> f) {
  auto blocks = std::make_shared<std::vector<TokenBlock>>();
  for (size_t m = 0; m < members_.size(); ++m) {
    const AttentionPlan& attention = members_[m]->plan.attention;
    for (const int w : which) {
      // A batch without tokens may be of any size.
      if ((w == 0 ? attention.total_queries : attention.total_keys) == 0) continue;
      const TokenSpans& tokens = w == 0 ? attention.queries : attention.keys;
      for (int64_t b = 0; b < attention.dims.batch; ++b) {
        for (int64_t t = 0; t < tokens.count[b]; t += kTokensPerBlock) {
          blocks->push_back({m, w, b, t, std::min(t + kTokensPerBlock, tokens.count[b])});
        }
      }
    }
  }
  const double cost = kFlopsPerFloat * static_cast<double>(width * kTokensPerBlock);
  Add(RowStage(static_cast<int64_t>(blocks->size()), cost, [blocks, f = std::move(f)](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f((*blocks)[static_cast<size_t>(i)]);
    return absl::OkStatus();
  }));
}

void MultiHeadRun::AddStages() {
  const MultiHeadPlan& p = plan();
  if (p.position_encoding != PositionEncoding::kNone) {
    std::vector<int> own;
    for (int i = 0; i < 3; ++i) {
      if (p.embeddings[i].same_as == i) own.push_back(i);
    }
    AddTokens(own, p.embeddings[0].width, [this](const TokenBlock& block) {
      const Member& member = *members_[block.member];
      float* rows =
          embeddings_[block.which] + member.first_row[block.which] * member.plan.embeddings[block.which].width;
      const auto& table = weights_->shapes().extents[Role::kPositionTable];
      AddPositions(member.plan, block.which, vector(Role::kPositionTable), table.empty() ? 0 : table[0], block.b,
                   block.begin, block.end, rows);
    });
  }
  AddProjections();
  AddTurning();
  AddAttention();
  AddOutputProjection();
  if (p.block) AddFeedForward();
  AddEnd();
}

void MultiHeadRun::NormRow(WeightRole scale, const float* x, float* y) const {
  const BlockPlan& block = *plan().block;
  const Role shift = scale == Role::kAttentionNormScale ? Role::kAttentionNormShift : Role::kFfnNormShift;
  if (block.norm == NormKind::kLayerNorm) {
    LayerNormRow(x, plan().output_width, vector(scale), vector(shift), block.norm_epsilon, y);
  } else {
    RmsNormRow(x, plan().output_width, vector(scale), block.norm_epsilon, y);
  }
}

void MultiHeadRun::AddProjections() {
  const MultiHeadPlan& p = plan();
  const int64_t width = p.embeddings[0].width;
  const bool pre = p.block && p.block->placement == NormPlacement::kPre;
  if (pre) {
    AddRows(rows(), width, [this, width](int64_t row) {
      NormRow(Role::kAttentionNormScale, embeddings_[0] + row * width, normed_ + row * width);
    });
  }
  std::vector<MatrixProduct> products;
  for (int i = 0; i < 3; ++i) {
    const ProjectionPlan& projection = p.projections[i];
    const int source = p.embeddings[i].same_as;
    MatrixProduct& product = products.emplace_back();
    product.weights = &weights_->matrix(projection.weight);
    product.columns = projection.columns;
    if (projection.bias_begin >= 0) product.bias = vector(projection.bias) + projection.bias_begin;
    product.x = {pre && p.embeddings[i].tensor == 0 ? normed_ : embeddings_[source], p.embeddings[i].width};
    product.rows = rows_[i];
    product.y = {projected_[i], projection.columns.size()};
  }
  Add(ProductStage(products));
  if (!p.explain) return;
  Add(RowStage(1, 1, [this](int64_t /*begin*/, int64_t /*end*/) {
    Explain(*members_.front(), /*projected=*/true);
    return absl::OkStatus();
  }));
}

// Norms and rotates heads, and scores the extra key.
void MultiHeadRun::AddTurning() {
  const MultiHeadPlan& p = plan();
  const bool rotated = std::any_of(members_.begin(), members_.end(),
                                   [](const auto& member) { return member->plan.attention.rope.has_value(); });
  const bool query = rotated || p.has_query_norm || p.has_extra_key;
  const bool key = rotated || p.has_key_norm;
  std::vector<int> which;
  if (query) which.push_back(0);
  if (key) which.push_back(1);
  if (!which.empty()) {
    AddTokens(which, p.projections[0].columns.size(), [this](const TokenBlock& block) { Turn(block); });
  }
}

void MultiHeadRun::Turn(const TokenBlock& block) {
  const Member& member = *members_[block.member];
  const AttentionPlan& attention = member.plan.attention;
  const Dims& dims = attention.dims;
  const bool query = block.which == 0;
  const int64_t width = member.plan.projections[block.which].columns.size();
  float* base = projected_[block.which] + member.first_row[block.which] * width;
  const float* scale = vector(query ? Role::kQueryNorm : Role::kKeyNorm);
  const int64_t heads = query ? dims.heads : dims.kv_heads;
  const auto row = [&](int64_t h, int64_t t) {
    return base + (query ? attention.QueryAt(block.b, h, t) : attention.KeyAt(block.b, h, t));
  };
  for (int64_t t = block.begin; t < block.end && scale != nullptr; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      RmsNormRow(row(h, t), dims.head_dim, scale, member.plan.norm_epsilon, row(h, t));
    }
  }
  if (attention.rope) {
    ApplyRopeInPlace(attention, query ? RopeTensor::kQuery : RopeTensor::kKey, block.b, block.begin, block.end, base);
  }
  if (!query || member.extra_scores == nullptr) return;
  for (int64_t t = block.begin; t < block.end; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const float* key = vector(Role::kExtraKey) + h / dims.group() * dims.head_dim;
      float score = Dot(row(h, t), key, dims.head_dim) * attention.scale;
      if (attention.softcap > 0) score = attention.softcap * std::tanh(score / attention.softcap);
      member.extra_scores[attention.LseAt(block.b, h, t)] = score;
    }
  }
}

void MultiHeadRun::AddAttention() {
  Stage stage;
  auto ends = std::make_shared<std::vector<int64_t>>();
  for (const auto& member : members_) {
    stage.tiles += member->claims;
    stage.flops += member->plan.attention.flops;
    ends->push_back(stage.tiles);
  }
  stage.run = [this, ends](int64_t tile) {
    const auto end = std::upper_bound(ends->begin(), ends->end(), tile);
    Member& member = *members_[static_cast<size_t>(end - ends->begin())];
    return member.attention->RunClaim(tile - (*end - member.claims));
  };
  Add(std::move(stage));
  if (!plan().has_extra_key) return;
  AddTokens({0}, plan().context_width, [this](const TokenBlock& block) { AddExtraValue(block); });
}

// The extra key has taken part in the sums; its value is still missing in the output.
void MultiHeadRun::AddExtraValue(const TokenBlock& block) {
  const Member& member = *members_[block.member];
  const AttentionPlan& attention = member.plan.attention;
  const Dims& dims = attention.dims;
  float* base = context_ + member.first_row[0] * member.plan.context_width;
  for (int64_t t = block.begin; t < std::min(block.end, attention.q_used[block.b]); ++t) {
    for (int64_t h = 0; h < dims.heads; ++h) {
      const int64_t at = attention.LseAt(block.b, h, t);
      const float sum = member.attention->row_sum()[at];
      // A row of scores that are all -inf weighs nothing.
      if (sum == 0) continue;
      const float weight = std::exp(member.extra_scores[at] - member.attention->row_max()[at]) / sum;
      const float* value = vector(Role::kExtraValue) + h / dims.group() * dims.value_dim;
      float* row = base + attention.OutputAt(block.b, h, t);
      for (int64_t i = 0; i < dims.value_dim; ++i) row[i] = std::fma(weight, value[i], row[i]);
    }
  }
}

void MultiHeadRun::AddOutputProjection() {
  const MultiHeadPlan& p = plan();
  const int64_t width = p.output_width;
  float* to = p.block ? hidden_ : output_;
  const float* residual = p.block ? embeddings_[0] : nullptr;
  if (!p.has_output_projection) {
    AddRows(rows(), width, [this, width, to, residual](int64_t row) {
      std::copy_n(context_ + row * width, width, to + row * width);
      if (residual != nullptr) AddRow(residual + row * width, width, to + row * width);
    });
    return;
  }
  MatrixProduct product;
  product.weights = &weights_->matrix(Role::kOutput);
  product.columns = {0, width};
  product.bias = vector(Role::kOutputBias);
  product.x = {context_, p.context_width};
  product.rows = rows();
  product.y = {to, width};
  product.residual = {residual, width};
  product.before_residual = {attention_, width};
  Add(ProductStage({product}));
}

void MultiHeadRun::AddFeedForward() {
  const BlockPlan& block = *plan().block;
  const int64_t width = plan().output_width;
  const bool post = block.placement == NormPlacement::kPost;
  float* fed = post ? hidden_ : normed_;
  if (post || block.has_ffn) {
    AddRows(rows(), width, [this, width, post, fed](int64_t row) {
      NormRow(post ? Role::kAttentionNormScale : Role::kFfnNormScale, hidden_ + row * width, fed + row * width);
    });
  }
  if (!block.has_ffn) {
    AddRows(rows(), width,
            [this, width](int64_t row) { std::copy_n(hidden_ + row * width, width, output_ + row * width); });
    return;
  }
  MatrixProduct up;
  up.weights = &weights_->matrix(Role::kUp);
  up.columns = {0, block.ffn_dim};
  up.bias = vector(Role::kUpBias);
  up.x = {fed, width};
  up.rows = rows();
  up.y = {up_, block.ffn_dim};
  up.activation = block.activation;
  if (block.activation == Activation::kSwiglu) {
    up.gate = &weights_->matrix(Role::kGate);
    up.gate_bias = vector(Role::kGateBias);
    up.gated = {gate_, block.ffn_dim};
  }
  Add(ProductStage({up}));
  MatrixProduct down;
  down.weights = &weights_->matrix(Role::kDown);
  down.columns = {0, width};
  down.bias = vector(Role::kDownBias);
  down.x = {up_, block.ffn_dim};
  down.rows = rows();
  down.y = {output_, width};
  down.residual = {hidden_, width};
  Add(ProductStage({down}));
  if (!post) return;
  AddRows(rows(), width,
          [this, width](int64_t row) { NormRow(Role::kFfnNormScale, output_ + row * width, output_ + row * width); });
}

void MultiHeadRun::AddEnd() {
  if (!WritesInPlace()) AddRows(rows(), plan().output_width, [this](int64_t row) { WriteRow(row); });
  if (!plan().explain) return;
  Add(RowStage(1, 1, [this](int64_t /*begin*/, int64_t /*end*/) {
    Explain(*members_.front(), /*projected=*/false);
    return absl::OkStatus();
  }));
}

// A row of output_ to its place in its request's result, 0 where it was not asked for.
void MultiHeadRun::WriteRow(int64_t row) const {
  const auto next = std::upper_bound(members_.begin(), members_.end(), row,
                                     [](int64_t at, const auto& member) { return at < member->first_row[0]; });
  const Member& member = **std::prev(next);
  const AttentionPlan& attention = member.plan.attention;
  const int64_t width = member.plan.output_width;
  const int64_t own = row - member.first_row[0];
  std::byte* to = member.output.data.data() + own * width * ElementBytes(member.output.dtype);
  // Packed sequences use all of their rows.
  const int64_t q_len = attention.dims.q_len;
  if (attention.layout != Layout::kPacked && own % q_len >= attention.q_used[own / q_len]) {
    std::memset(to, 0, static_cast<size_t>(width * ElementBytes(member.output.dtype)));
    return;
  }
  simd::StoreRow(output_ + row * width, width, member.output.dtype, to);
}

// Copies what lies between the stages: the projections, or the rest.
// Of the rest, rows outside q_lengths hold what the memory held before: another's, maybe.
void MultiHeadRun::Explain(Member& member, bool projected) {
  const MultiHeadPlan& p = member.plan;
  const AttentionPlan& attention = p.attention;
  const Dims& dims = attention.dims;
  for (size_t n = 0; n < member.explain.size(); ++n) {
    float* to = member.explain[n].tensor.data.floats();
    const std::string& name = member.explain[n].name;
    if ((n < 3) != projected || member.explain[n].tensor.data.size() == 0) continue;
    if (n >= 3) {
      const float* from = name == "context" ? context_ : name == "attention" ? attention_ : hidden_;
      std::memcpy(to, from, member.explain[n].tensor.data.size());
      ClearUnused(attention, member.explain[n].tensor.shape.back(), to);
      continue;
    }
    const int64_t heads = n == 0 ? dims.heads : dims.kv_heads;
    const int64_t len = n == 0 ? dims.q_len : dims.kv_len;
    const int64_t dim = n == 2 ? dims.value_dim : dims.head_dim;
    if (attention.layout == Layout::kPacked) {
      std::memcpy(to, projected_[n], member.explain[n].tensor.data.size());
      continue;
    }
    for (int64_t b = 0; b < dims.batch; ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t t = 0; t < len; ++t, to += dim) {
          std::copy_n(projected_[n] + ((b * len + t) * heads + h) * dim, dim, to);
        }
      }
    }
  }
}

}  // namespace attnd
