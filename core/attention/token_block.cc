#include "core/attention/token_block.h"

#include "core/attention/simd_pairs.h"
#include "core/attention/simd_rows.h"

namespace attnd {

void TokenBlock::Begin(const TokenRows& tokens, bool in_pairs) {
  tokens_ = tokens;
  in_place_ = tokens.dtype == DataType::kFloat32 || (in_pairs && simd::PairsRead(tokens.dtype));
}

void TokenBlock::Turn(KeyRange block) {
  block_ = block;
  loaded_ = false;
}

absl::Status TokenBlock::Load() {
  // The loader leaves float32 where it is.
  return in_place_ && tokens_.dtype != DataType::kFloat32 ? absl::OkStatus() : LoadFloats();
}

absl::Status TokenBlock::LoadFloats() {
  if (loaded_) return absl::OkStatus();
  const auto floats = loader_.Load(tokens_, block_.begin, block_.end, 1, /*finite=*/false);
  if (!floats.ok()) return floats.status();
  floats_ = *floats;
  loaded_ = true;
  return absl::OkStatus();
}

TokenRows TokenBlock::TokensFrom(int64_t key) const {
  if (!in_place_) return FloatsFrom(key).AsTokens(tokens_.dim, block_.end - key);
  return {At(key), tokens_.dtype, tokens_.stride, tokens_.dim, tokens_.count - key};
}

FloatRows TokenBlock::FloatsFrom(int64_t key) const { return {floats_.row(key - block_.begin), floats_.stride}; }

bool TokenBlock::AllFinite(KeyRange keys) const {
  if (tokens_.stride == tokens_.dim) {
    return simd::AllFiniteRow(At(keys.begin), tokens_.dtype, keys.size() * tokens_.dim);
  }
  for (int64_t k = keys.begin; k < keys.end; ++k) {
    if (!simd::AllFiniteRow(At(k), tokens_.dtype, tokens_.dim)) return false;
  }
  return true;
}

const std::byte* TokenBlock::MemoryFrom(int64_t key) const { return tokens_.stride == tokens_.dim ? At(key) : nullptr; }

}  // namespace attnd
