// Sines and cosines of positions times frequencies theta^(-2i / dim), as rotary and
// sinusoidal encodings have them.
#ifndef ATTND_CORE_ATTENTION_TURNS_H_
#define ATTND_CORE_ATTENTION_TURNS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attnd {

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

// The turns of `pairs` pairs at one position after the other. Angles are position /
// scaling_factor * theta^(-2i / dim), in float64. Thread-compatible.
class Turns {
 public:
  static constexpr int64_t kTokensPerAnchor = 64;

  Turns(int64_t dim, int64_t pairs, double theta, double scaling_factor);

  // Turns to token `t` of an entry, at `position`. Consecutive positions that float64 tells
  // well apart follow from the token before, which must have been sought; every 64th is
  // computed anew, and position 0, which turns nothing. So turns depend on the token's place
  // in its entry and its position, and on nothing else.
  void Seek(int64_t t, int64_t position, bool consecutive);

  [[nodiscard]] int64_t pairs() const { return static_cast<int64_t>(rounded_.size()); }
  // Of pair `i` at the position sought.
  const Turn<float>& operator[](int64_t i) const { return rounded_[static_cast<size_t>(i)]; }

 private:
  static constexpr int64_t kFar = int64_t{1} << 24;

  [[nodiscard]] Turn<double> At(int64_t position, double frequency) const;

  const double scaling_factor_;
  std::vector<double> frequencies_;
  std::vector<Turn<double>> step_;
  std::vector<Turn<double>> exact_;
  std::vector<Turn<float>> rounded_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_TURNS_H_
