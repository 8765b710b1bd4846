#include "client/picture/color.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "absl/strings/str_format.h"

namespace attnd::picture {
namespace {

// Viridis (van der Walt and Smith, CC0) at every eighth: lightness grows all the way and hue
// goes from blue to yellow, which readers who confuse red with green tell apart as well.
constexpr std::array<Color, 9> kAnchors = {{{68, 1, 84},
                                            {71, 45, 123},
                                            {59, 82, 139},
                                            {44, 114, 142},
                                            {33, 145, 140},
                                            {40, 174, 128},
                                            {94, 201, 98},
                                            {173, 220, 48},
                                            {253, 231, 37}}};

uint8_t MixChannel(uint8_t under, uint8_t over, double share) {
  return static_cast<uint8_t>(std::lround(under + share * (over - under)));
}

double Linear(uint8_t channel) {
  const double value = channel / 255.0;
  return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
}

}  // namespace

Color Mix(Color under, Color over, double share) {
  return {MixChannel(under.red, over.red, share), MixChannel(under.green, over.green, share),
          MixChannel(under.blue, over.blue, share)};
}

double Luminance(Color color) {
  return 0.2126 * Linear(color.red) + 0.7152 * Linear(color.green) + 0.0722 * Linear(color.blue);
}

std::string Hex(Color color) { return absl::StrFormat("#%02x%02x%02x", color.red, color.green, color.blue); }

std::span<const Color> ScaleAnchors() { return kAnchors; }

Color ScaleColor(double position) {
  constexpr size_t kSteps = kAnchors.size() - 1;
  const double step = std::clamp(position, 0.0, 1.0) * kSteps;
  const size_t below = std::min(static_cast<size_t>(step), kSteps - 1);
  return Mix(kAnchors[below], kAnchors[below + 1], step - static_cast<double>(below));
}

Color InkOn(Color color) {
  constexpr Color kBlack;
  constexpr Color kWhite = {255, 255, 255};
  // Contrasts of 1.05 / (L + 0.05) against (L + 0.05) / 0.05 are equal at L = 0.179.
  return Luminance(color) > 0.179 ? kBlack : kWhite;
}

}  // namespace attnd::picture
