// What pictures look like around their weights, whose colors are the same in every theme.
#ifndef ATTND_CLIENT_PICTURE_THEME_H_
#define ATTND_CLIENT_PICTURE_THEME_H_

#include "client/picture/color.h"

namespace attnd::picture {

enum class Theme { kLight, kDark };

struct Palette {
  Color page;
  Color ink;
  // Of what is read second.
  Color quiet;
  // Ticks and frames.
  Color line;
  // Of the lines across the page where nothing is visible.
  Color hatch;
};

[[nodiscard]] constexpr Palette PaletteOf(Theme theme) {
  if (theme == Theme::kDark) {
    return {{20, 23, 27}, {229, 232, 236}, {154, 164, 175}, {74, 83, 94}, {62, 70, 80}};
  }
  return {{255, 255, 255}, {27, 31, 36}, {90, 99, 110}, {172, 180, 189}, {205, 211, 218}};
}

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_THEME_H_
