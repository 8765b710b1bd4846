#include "client/picture/canvas.h"

#include <algorithm>

namespace attnd::picture {
namespace {

constexpr int kChannels = 3;
constexpr int kHatchDistance = 6;

}  // namespace

Canvas::Canvas(int width, int height, Color page)
    : width_(width),
      height_(height),
      pixels_(static_cast<size_t>(width) * static_cast<size_t>(height) * static_cast<size_t>(kChannels)) {
  Fill({0, 0, width, height}, page);
}

Box Canvas::Inside(const Box& box) const {
  const int left = std::clamp(box.x, 0, width_);
  const int top = std::clamp(box.y, 0, height_);
  return {left, top, std::clamp(box.x + box.width, left, width_) - left,
          std::clamp(box.y + box.height, top, height_) - top};
}

size_t Canvas::Offset(int x, int y) const {
  return (static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(x)) * kChannels;
}

Color Canvas::At(int x, int y) const {
  const uint8_t* pixel = &pixels_[Offset(x, y)];
  return {pixel[0], pixel[1], pixel[2]};
}

void Canvas::Set(int x, int y, Color color) {
  uint8_t* pixel = &pixels_[Offset(x, y)];
  pixel[0] = color.red;
  pixel[1] = color.green;
  pixel[2] = color.blue;
}

void Canvas::Fill(const Box& box, Color color) {
  const Box inside = Inside(box);
  for (int y = inside.y; y < inside.y + inside.height; ++y) {
    for (int x = inside.x; x < inside.x + inside.width; ++x) Set(x, y, color);
  }
}

void Canvas::Hatch(const Box& box, Color color) {
  const Box inside = Inside(box);
  for (int y = inside.y; y < inside.y + inside.height; ++y) {
    const int first = inside.x + (kHatchDistance - (inside.x + y) % kHatchDistance) % kHatchDistance;
    for (int x = first; x < inside.x + inside.width; x += kHatchDistance) Set(x, y, color);
  }
}

void Canvas::Text(const Font& font, std::string_view text, const TextPlace& place, Color color) {
  font.Draw(text, place, [this, color](int x, int y, uint8_t coverage) {
    if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
    Set(x, y, Mix(At(x, y), color, coverage / 255.0));
  });
}

}  // namespace attnd::picture
