// Colors, and the scale that shows weights as colors.
#ifndef ATTND_CLIENT_PICTURE_COLOR_H_
#define ATTND_CLIENT_PICTURE_COLOR_H_

#include <cstdint>
#include <span>
#include <string>

namespace attnd::picture {

// sRGB.
struct Color {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;

  bool operator==(const Color&) const = default;
};

// `share` of `over`, the rest of `under`; 0 <= share <= 1.
[[nodiscard]] Color Mix(Color under, Color over, double share);

// Relative luminance, from 0 for black to 1 for white.
[[nodiscard]] double Luminance(Color color);

// "#rrggbb".
[[nodiscard]] std::string Hex(Color color);

// The scale at equal distances from 0 to 1; between them it is linear in sRGB.
[[nodiscard]] std::span<const Color> ScaleAnchors();

// From dark at 0 to bright at 1; beyond them it is the end's. `position` is not NaN.
[[nodiscard]] Color ScaleColor(double position);

// Black or white, whichever is easier to read on `color`.
[[nodiscard]] Color InkOn(Color color);

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_COLOR_H_
