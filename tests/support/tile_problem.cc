#include "tests/support/tile_problem.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "core/attention/gather.h"
#include "core/attention/simd_rows.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int64_t RoundUp(int64_t n) { return (n + simd::kRowMultiple - 1) / simd::kRowMultiple * simd::kRowMultiple; }

CaseTensor NormalTensor(std::vector<int64_t> shape, Random& random) {
  CaseTensor tensor{DataType::kFloat32, std::move(shape), {}};
  int64_t n = 1;
  for (const int64_t extent : tensor.shape) n *= extent;
  for (int64_t i = 0; i < n; ++i) tensor.numbers.push_back(random.Normal());
  return tensor;
}

// Room for `elements` of any type.
AlignedFloats Spoilt(int64_t elements) {
  return AlignedFloats(static_cast<size_t>(elements) + 1, std::bit_cast<float>(~uint32_t{0}));
}

std::byte* BytesOf(AlignedFloats& floats) { return reinterpret_cast<std::byte*>(floats.data()); }

// Entry `b` of the `batch` equal ones.
std::vector<float> EntryOf(const AlignedFloats& memory, DataType dtype, int64_t elements, int64_t b, int64_t batch) {
  const int64_t n = elements / batch;
  std::vector<float> floats(static_cast<size_t>(n));
  if (n == 0) return floats;
  simd::LoadRow(reinterpret_cast<const std::byte*>(memory.data()) + b * n * ElementBytes(dtype), dtype, n,
                floats.data());
  return floats;
}

std::vector<float> TokenOf(const TokenRows& rows, int64_t token) {
  std::vector<float> floats(static_cast<size_t>(rows.dim));
  simd::LoadRow(rows.base + token * rows.stride * ElementBytes(rows.dtype), rows.dtype, rows.dim, floats.data());
  return floats;
}

void CheckRows(const float* rows, int64_t stride) {
  EXPECT_EQ(reinterpret_cast<uintptr_t>(rows) % 64, 0U);
  EXPECT_EQ(stride % simd::kRowMultiple, 0);
}

}  // namespace

RequestCase NormalCase(const Dims& dims) {
  Random random(static_cast<uint64_t>(dims.q_len * 1000 + dims.kv_len));
  RequestCase c;
  c.dims = dims;
  c.query = NormalTensor({dims.batch, dims.heads, dims.q_len, dims.head_dim}, random);
  c.key = NormalTensor({dims.batch, dims.kv_heads, dims.kv_len, dims.head_dim}, random);
  c.value = NormalTensor({dims.batch, dims.kv_heads, dims.kv_len, dims.value_dim}, random);
  return c;
}

void SeeKeysBefore(RequestCase& c, int64_t q_offset) {
  c.options.causal = true;
  c.options.alignment = Alignment::kOffset;
  c.options.q_offset = {q_offset};
  c.options.k_offset = {0};
}

TileProblem::TileProblem(const RequestCase& c) {
  const AttentionRequest request = BuildRequest(c);
  auto plan = PlanAttention(request, AttentionLimits());
  EXPECT_THAT(plan, IsOk());
  if (plan.ok()) plan_ = *std::move(plan);
  EXPECT_THAT(GatherInputs(request, plan_, &pool_, inputs_, data_), IsOk());
  output_ = Spoilt(plan_.rows * plan_.dims.value_dim);
  data_.output = BytesOf(output_);
  lse_ = Spoilt(plan_.rows);
  if (plan_.wants_lse) data_.lse = lse_.data();
  if (plan_.weights) {
    weights_ = Spoilt(plan_.weights->elements);
    data_.weights = BytesOf(weights_);
  }
  if (plan_.scores) {
    scores_ = Spoilt(plan_.scores->elements);
    data_.scores = BytesOf(scores_);
  }
  if (plan_.mean_weights) {
    row_max_ = Spoilt(plan_.rows);
    row_sum_ = Spoilt(plan_.rows);
    data_.row_max = row_max_.data();
    data_.row_sum = row_sum_.data();
  }
}

CaseResult TileProblem::Result(const RowCounts& rows) const {
  CaseResult result{.entries = {}, .rows = rows};
  const int64_t batch = plan_.dims.batch;
  for (int64_t b = 0; b < batch; ++b) {
    EntryResult& entry = result.entries.emplace_back();
    entry.output = EntryOf(output_, plan_.output_dtype, plan_.rows * plan_.dims.value_dim, b, batch);
    if (plan_.wants_lse) entry.lse = EntryOf(lse_, DataType::kFloat32, plan_.rows, b, batch);
    if (plan_.weights) entry.weights = EntryOf(weights_, plan_.output_dtype, plan_.weights->elements, b, batch);
    if (plan_.scores) entry.scores = EntryOf(scores_, plan_.output_dtype, plan_.scores->elements, b, batch);
  }
  return result;
}

absl::Status PlainProducts::Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  if (!begin_status.ok()) return begin_status;
  rows_ = tile.row_end - tile.row_begin;
  head_dim_ = plan.dims.head_dim;
  query_.assign(static_cast<size_t>(rows_ * head_dim_), kNan);
  LoadQueryRows(plan, data, tile, query_.data(), head_dim_);
  return absl::OkStatus();
}

absl::Status PlainProducts::Scores(const TokenRows& keys, int64_t begin, int64_t end, float* scores, int64_t stride) {
  ++products;
  if (!scores_status.ok()) return scores_status;
  CheckRows(scores, stride);
  EXPECT_EQ(begin % simd::kRowMultiple, 0);
  EXPECT_LT(begin, end);
  EXPECT_LE(end - begin, key_block_);
  EXPECT_LE(end, keys.count);
  std::fill(scores, scores + (rows_ + more_rows_) * stride, kNan);
  for (int64_t k = begin; k < end; ++k) {
    const std::vector<float> key = TokenOf(keys, k);
    for (int64_t r = 0; r < rows_; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < head_dim_; ++i) {
        sum += double{query_[static_cast<size_t>(r * head_dim_ + i)]} * double{key[static_cast<size_t>(i)]};
      }
      scores[r * stride + k - begin] = static_cast<float>(sum);
    }
  }
  return absl::OkStatus();
}

absl::Status PlainProducts::AddValues(const float* p, int64_t stride, const TokenRows& values, int64_t begin,
                                      int64_t end, float* acc, int64_t acc_stride) {
  ++products;
  if (!values_status.ok()) return values_status;
  CheckRows(p, stride);
  CheckRows(acc, acc_stride);
  EXPECT_LE(end, values.count);
  for (int64_t r = 0; r < rows_; ++r) {
    for (int64_t k = end - begin; k < RoundUp(end - begin); ++k) EXPECT_EQ(p[r * stride + k], 0) << r << ", " << k;
  }
  std::vector<double> sums(static_cast<size_t>(rows_ * values.dim));
  for (int64_t k = begin; k < end; ++k) {
    const std::vector<float> value = TokenOf(values, k);
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t i = 0; i < values.dim; ++i) {
        sums[static_cast<size_t>(r * values.dim + i)] +=
            double{p[r * stride + k - begin]} * double{value[static_cast<size_t>(i)]};
      }
    }
  }
  for (int64_t r = 0; r < rows_; ++r) {
    for (int64_t i = 0; i < values.dim; ++i) {
      acc[r * acc_stride + i] += static_cast<float>(sums[static_cast<size_t>(r * values.dim + i)]);
    }
  }
  std::fill(acc + rows_ * acc_stride, acc + (rows_ + more_rows_) * acc_stride, kNan);
  return absl::OkStatus();
}

}  // namespace attnd
