#include "core/linear/embeddings.h"

#include <algorithm>

#include "core/attention/simd_rows.h"
#include "core/attention/turns.h"
#include "core/linear/row_functions.h"

namespace attnd {
namespace {

constexpr double kTheta = 10000;

void AddSines(const Turns& turns, int64_t width, float* row) {
  for (int64_t i = 0; i < turns.pairs(); ++i) {
    row[2 * i] += turns[i].sin;
    if (2 * i + 1 < width) row[2 * i + 1] += turns[i].cos;
  }
}

}  // namespace

absl::Status CopyEmbeddings(const TensorView& tensor, BufferPool* pool, float* rows) {
  if (tensor.dtype == DataType::kFloat32) {
    tensor.bytes.CopyTo(reinterpret_cast<std::byte*>(rows));
    return absl::OkStatus();
  }
  const auto raw = pool->Allocate(tensor.bytes.size());
  if (!raw.ok()) return raw.status();
  tensor.bytes.CopyTo(raw->data());
  simd::LoadRow(raw->data(), tensor.dtype, static_cast<int64_t>(tensor.bytes.size()) / ElementBytes(tensor.dtype),
                rows);
  return absl::OkStatus();
}

void AddPositions(const MultiHeadPlan& plan, int which, const float* table, int64_t positions, int64_t b, int64_t begin,
                  int64_t end, float* rows) {
  const AttentionPlan& attention = plan.attention;
  const TokenSpans& tokens = which == 0 ? attention.queries : attention.keys;
  const PerEntry& first = which == 0 ? attention.q_position : attention.k_position;
  const int64_t width = plan.embeddings[which].width;
  const auto row = [&](int64_t t) { return rows + (tokens.begin(b) + t) * width; };
  if (plan.position_encoding == PositionEncoding::kLearned) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t position = first[b] + t;
      if (position >= 0 && position < positions) AddRow(table + position * width, width, row(t));
    }
    return;
  }
  Turns turns(width, (width + 1) / 2, kTheta, 1);
  for (int64_t t = begin / Turns::kTokensPerAnchor * Turns::kTokensPerAnchor; t < end; ++t) {
    turns.Seek(t, first[b] + t, /*consecutive=*/true);
    if (t >= begin) AddSines(turns, width, row(t));
  }
}

}  // namespace attnd
