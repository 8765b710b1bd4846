#include "core/attention/rope.h"

#include <vector>

#include "core/attention/simd_rows.h"
#include "core/attention/turns.h"

namespace attnd {
namespace {

Turns TurnsOf(const RopePlan& rope) { return {rope.rotary_dim, rope.rotary_dim / 2, rope.theta, rope.scaling_factor}; }

void TurnRow(const RopePlan& rope, const Turns& turns, float* row) {
  const int64_t pairs = turns.pairs();
  for (int64_t i = 0; i < pairs; ++i) {
    if (rope.style == RopeStyle::kHalf) {
      turns[i].Apply(row[i], row[i + pairs]);
    } else {
      turns[i].Apply(row[2 * i], row[2 * i + 1]);
    }
  }
}

// What there is to know of query or key.
struct Turned {
  Turned(const AttentionPlan& plan, RopeTensor tensor)
      : query(tensor == RopeTensor::kQuery),
        tokens(query ? plan.queries : plan.keys),
        given(query ? plan.rope->query_positions : plan.rope->key_positions),
        first(query ? plan.q_position : plan.k_position),
        heads(query ? plan.dims.heads : plan.dims.kv_heads) {}

  // Turns to token `t` of entry `b`.
  void Seek(int64_t b, int64_t t, Turns& turns) const {
    const int64_t position = given.empty() ? first[b] + t : given[static_cast<size_t>(tokens.begin(b) + t)];
    turns.Seek(t, position, given.empty());
  }

  const bool query;
  const TokenSpans& tokens;
  const std::vector<int64_t>& given;
  const PerEntry& first;
  const int64_t heads;
};

}  // namespace

void ApplyRope(const AttentionPlan& plan, RopeTensor tensor, const std::byte* source, float* destination) {
  const Turned turned(plan, tensor);
  const DataType dtype = turned.query ? plan.query_dtype : plan.key_dtype;
  Turns turns = TurnsOf(*plan.rope);
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    for (int64_t t = 0; t < turned.tokens.count[b]; ++t) {
      turned.Seek(b, t, turns);
      for (int64_t h = 0; h < turned.heads; ++h) {
        const int64_t at = turned.query ? plan.QueryAt(b, h, t) : plan.KeyAt(b, h, t);
        float* row = destination + at;
        const std::byte* from = source + at * ElementBytes(dtype);
        if (static_cast<const void*>(from) != row) simd::LoadRow(from, dtype, plan.dims.head_dim, row);
        TurnRow(*plan.rope, turns, row);
      }
    }
  }
}

void ApplyRopeInPlace(const AttentionPlan& plan, RopeTensor tensor, int64_t b, int64_t begin, int64_t end,
                      float* rows) {
  const Turned turned(plan, tensor);
  Turns turns = TurnsOf(*plan.rope);
  // From the anchor before, so that angles are those of ApplyRope.
  for (int64_t t = begin / Turns::kTokensPerAnchor * Turns::kTokensPerAnchor; t < end; ++t) {
    turned.Seek(b, t, turns);
    for (int64_t h = 0; h < turned.heads && t >= begin; ++h) {
      TurnRow(*plan.rope, turns, rows + (turned.query ? plan.QueryAt(b, h, t) : plan.KeyAt(b, h, t)));
    }
  }
}

}  // namespace attnd
