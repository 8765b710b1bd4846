#include "core/attention/rope.h"

#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

// A turn by an angle.
template <typename Real>
struct Turn {
  Real cos = 1;
  Real sin = 0;

  void Apply(Real& x, Real& y) const {
    const Real turned = x * cos - y * sin;
    y = x * sin + y * cos;
    x = turned;
  }
};

// The turns of a head's pairs at one position after the other.
class Turns {
 public:
  static constexpr int64_t kTokensPerAnchor = 64;

  explicit Turns(const RopePlan& rope) : rope_(rope) {
    const auto pairs = static_cast<size_t>(rope.rotary_dim / 2);
    for (size_t i = 0; i < pairs; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(rope.rotary_dim);
      frequencies_.push_back(std::pow(rope.theta, exponent));
      step_.push_back(At(1, frequencies_.back()));
    }
    exact_.resize(pairs);
    rounded_.resize(pairs);
  }

  // Turns to token `t` of an entry, at `position`. Consecutive positions that float64 tells
  // well apart follow from the token before; every 64th is computed anew, and position 0,
  // which turns nothing. So turns depend on the token's place in its entry and its position,
  // and on nothing else.
  void Seek(int64_t t, int64_t position, bool consecutive) {
    const bool near = std::abs(position) < kFar;
    if (consecutive && near && position != 0 && t % kTokensPerAnchor != 0) {
      for (size_t i = 0; i < exact_.size(); ++i) step_[i].Apply(exact_[i].cos, exact_[i].sin);
    } else {
      for (size_t i = 0; i < exact_.size(); ++i) exact_[i] = At(position, frequencies_[i]);
    }
    for (size_t i = 0; i < exact_.size(); ++i) {
      rounded_[i] = {static_cast<float>(exact_[i].cos), static_cast<float>(exact_[i].sin)};
    }
  }

  void TurnRow(float* row) const {
    const size_t pairs = rounded_.size();
    for (size_t i = 0; i < pairs; ++i) {
      if (rope_.style == RopeStyle::kHalf) {
        rounded_[i].Apply(row[i], row[i + pairs]);
      } else {
        rounded_[i].Apply(row[2 * i], row[2 * i + 1]);
      }
    }
  }

 private:
  static constexpr int64_t kFar = int64_t{1} << 24;

  [[nodiscard]] Turn<double> At(int64_t position, double frequency) const {
    const double angle = static_cast<double>(position) / rope_.scaling_factor * frequency;
    return {std::cos(angle), std::sin(angle)};
  }

  const RopePlan& rope_;
  std::vector<double> frequencies_;
  std::vector<Turn<double>> step_;
  std::vector<Turn<double>> exact_;
  std::vector<Turn<float>> rounded_;
};

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
  Turns turns(*plan.rope);
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    for (int64_t t = 0; t < turned.tokens.count[b]; ++t) {
      turned.Seek(b, t, turns);
      for (int64_t h = 0; h < turned.heads; ++h) {
        const int64_t at = turned.query ? plan.QueryAt(b, h, t) : plan.KeyAt(b, h, t);
        float* row = destination + at;
        const std::byte* from = source + at * ElementBytes(dtype);
        if (static_cast<const void*>(from) != row) simd::LoadRow(from, dtype, plan.dims.head_dim, row);
        turns.TurnRow(row);
      }
    }
  }
}

void ApplyRopeInPlace(const AttentionPlan& plan, RopeTensor tensor, int64_t b, int64_t begin, int64_t end,
                      float* rows) {
  const Turned turned(plan, tensor);
  Turns turns(*plan.rope);
  // From the anchor before, so that angles are those of ApplyRope.
  for (int64_t t = begin / Turns::kTokensPerAnchor * Turns::kTokensPerAnchor; t < end; ++t) {
    turned.Seek(b, t, turns);
    for (int64_t h = 0; h < turned.heads && t >= begin; ++h) {
      turns.TurnRow(rows + (turned.query ? plan.QueryAt(b, h, t) : plan.KeyAt(b, h, t)));
    }
  }
}

}  // namespace attnd
