#include "core/attention/float_rows.h"

#include <algorithm>

#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

bool UsableInPlace(const TokenRows& tokens, int64_t end, int64_t padded_end, bool finite) {
  if (tokens.dtype != DataType::kFloat32 || padded_end > tokens.count) return false;
  const auto* data = reinterpret_cast<const float*>(tokens.base);
  for (int64_t i = end; i < padded_end && finite; ++i) {
    if (!simd::AllFinite(data + i * tokens.stride, tokens.dim)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<FloatRows> FloatRowsLoader::Load(const TokenRows& tokens, int64_t begin, int64_t end, int64_t multiple,
                                                bool finite) {
  const int64_t padded = RoundUp(end - begin, multiple);
  if (UsableInPlace(tokens, end, begin + padded, finite)) {
    return FloatRows{reinterpret_cast<const float*>(tokens.base) + begin * tokens.stride, tokens.stride};
  }
  // Tokens one behind the other are converted in one go.
  const bool together = tokens.stride == tokens.dim;
  const int64_t stride = together ? tokens.dim : RoundUp(tokens.dim, simd::kRowMultiple);
  if (absl::Status status = scratch_.Reserve(padded * stride); !status.ok()) return status;
  const int64_t token_bytes = tokens.stride * ElementBytes(tokens.dtype);
  if (together) {
    simd::LoadRow(tokens.base + begin * token_bytes, tokens.dtype, (end - begin) * stride, scratch_.data());
  } else {
    for (int64_t i = begin; i < end; ++i) {
      simd::LoadRow(tokens.base + i * token_bytes, tokens.dtype, tokens.dim, scratch_.data() + (i - begin) * stride);
    }
  }
  std::fill(scratch_.data() + (end - begin) * stride, scratch_.data() + padded * stride, 0.0F);
  return FloatRows{scratch_.data(), stride};
}

}  // namespace attnd
