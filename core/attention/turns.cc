#include "core/attention/turns.h"

#include <cmath>
#include <cstdlib>

namespace attnd {

Turns::Turns(int64_t dim, int64_t pairs, double theta, double scaling_factor) : scaling_factor_(scaling_factor) {
  for (int64_t i = 0; i < pairs; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(dim);
    frequencies_.push_back(std::pow(theta, exponent));
    step_.push_back(At(1, frequencies_.back()));
  }
  exact_.resize(frequencies_.size());
  rounded_.resize(frequencies_.size());
}

void Turns::Seek(int64_t t, int64_t position, bool consecutive) {
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

Turn<double> Turns::At(int64_t position, double frequency) const {
  const double angle = static_cast<double>(position) / scaling_factor_ * frequency;
  return {std::cos(angle), std::sin(angle)};
}

}  // namespace attnd
